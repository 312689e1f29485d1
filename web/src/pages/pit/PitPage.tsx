/**
 * A pit: the creator's canvas and the viewer's mirror. The role decides what is offered here, and
 * nothing else: that a viewer cannot write is the server's doing.
 */

import { useEffect, useState } from "react";
import { Refused } from "../../access/Refused";
import { lookAtPit } from "../../api/pits";
import { usePageTitle } from "../../design/page-title";
import { hasCopy } from "../../room/copies";
import { kindOfClose, NO_SUCH_ROOM, waitOf } from "../../room/refusal";
import { forgetPit, rememberPit } from "../../room/recent-pits";
import type { RoomSession } from "../../room/session";
import { lowerRole, type Role } from "../../room/slug";
import { roleByToken } from "../../room/tokens";
import { useRoomSession, useRoomView } from "../../room/use-room";
import { Board } from "./Board";
import { MissingPit } from "./MissingPit";

export interface PitPageProps {
  readonly slug: string;
  readonly role: Role;
  readonly query: string;
}

export default function PitPage({ slug, role: asked, query }: PitPageProps) {
  const [here, setHere] = useRoleHere(slug);
  usePageTitle(slug);
  if (here === "looking") return null;
  if (here === "missing") return <MissingPit slug={slug} role={asked} onOpen={() => setHere(roleUntold(slug))} />;
  return <OpenedPit slug={slug} role={lowerRole(asked, here)} query={query} />;
}

function OpenedPit({ slug, role, query }: PitPageProps) {
  const session = useRoomSession({ mount: "/pit", space: "pit", name: slug, role, query });
  return session === null ? null : <JoinedPit session={session} slug={slug} role={role} />;
}

/** How long a page waits to hear about its pit before it opens it anyway, without a copy of it and with one. */
const LOOK_MS = 3_000;
const LOOK_WITH_COPY_MS = 1_000;

/** The most that the page may be, once that is known. */
type Here = Role | "looking" | "missing";

/** A pit that this device has a copy of opens whatever is said of it: it may be the only place where it is. */
function useRoleHere(slug: string): [Here, (here: Here) => void] {
  const [here, setHere] = useState<Here>("looking");
  useEffect(() => {
    if (here !== "looking") return;
    let left = false;
    const copied = hasCopy(`pit/${slug}`);
    void lookAtPit(slug, copied ? LOOK_WITH_COPY_MS : LOOK_MS).then((found) => {
      if (!left) setHere(found === "unknown" || (found === "missing" && copied) ? roleUntold(slug) : found);
    });
    return () => {
      left = true;
    };
  }, [slug, here]);
  return [here, setHere];
}

/** Where the server has not said what the page may be, its token says what it is good for. */
function roleUntold(slug: string): Role {
  return roleByToken(`pit/${slug}`, Date.now()) ?? "creator";
}

function JoinedPit({ session, slug, role }: { session: RoomSession; slug: string; role: Role }) {
  const { connection } = useRoomView(session);
  const live = connection.at === "live";
  const gone = connection.at === "refused" && connection.code === NO_SUCH_ROOM;
  useEffect(() => {
    if (live) rememberPit(slug, role, Date.now());
    if (gone) forgetPit(slug);
  }, [live, gone, slug, role]);
  useEffect(() => {
    const ask = (event: BeforeUnloadEvent): void => {
      if (session.unstored === "page") event.preventDefault();
    };
    window.addEventListener("beforeunload", ask);
    return () => window.removeEventListener("beforeunload", ask);
  }, [session]);

  if (connection.at !== "refused") return <Board session={session} slug={slug} role={role} />;
  const { code, reason } = connection;
  return (
    <Refused
      room={{ space: "pit", name: slug }}
      thing="pit"
      kind={kindOfClose(code, reason)}
      said={reason === "" ? String(code) : `${code} · ${reason}`}
      waitS={waitOf(reason)}
      unstored={session.unstored}
      onAgain={() => session.retry()}
      testid="refused"
    />
  );
}
