/** What a page shows, as its address says: `/observatory?tab=rooms&room=pit%2Fx&range=7d`. What is usual is left out. */

import { RANGES, type Range } from "./recording";

export const TABS = ["charts", "rooms", "life", "events"] as const;
export type Tab = (typeof TABS)[number];

export interface Place {
  readonly tab: Tab;
  readonly range: Range;
  /** Looked at closely, as `space/name`; only beside the rooms. */
  readonly room: string | null;
}

const ROOM_CHARS_MAX = 512;

/** Whatever is said that there is not, is as if it had not been said. */
export function placeOf(query: string): Place {
  const said = new URLSearchParams(query);
  const room = roomOf(said.get("room"));
  const tab = room === null ? TABS.find((known) => known === said.get("tab")) : "rooms";
  return { tab: tab ?? "charts", range: RANGES.find((known) => known === said.get("range")) ?? "1h", room };
}

export function addressOf({ tab, range, room }: Place): string {
  const query = new URLSearchParams();
  if (tab !== "charts") query.set("tab", tab);
  if (tab === "rooms" && room !== null) query.set("room", room);
  if (range !== "1h") query.set("range", range);
  return query.size === 0 ? "/observatory" : `/observatory?${query}`;
}

function roomOf(said: string | null): string | null {
  return said !== null && said.length <= ROOM_CHARS_MAX && /^[^/]+\/./s.test(said) ? said : null;
}
