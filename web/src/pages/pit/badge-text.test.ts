import { expect, it } from "vitest";
import type { RoomView } from "../../room/session";
import { badgeText } from "./badge-text";

const live: RoomView = { connection: { at: "live" }, ack: "saved", refusal: null, mayWrite: true, loaded: true, keepsEdits: true };
const offline: RoomView["connection"] = { at: "offline", why: null };
const say = (view: Partial<RoomView>): string => {
  const { connection, edits } = badgeText({ ...live, ...view });
  return edits === null ? connection : `${connection} · ${edits}`;
};

it.each<[Partial<RoomView>, string]>([
  [{}, "Live · saved"],
  [{ ack: "saving" }, "Live · saving…"],
  [{ ack: "watching" }, "Live"],
  [{ ack: "refused", refusal: "read only" }, "Live · not saved: read only"],
  [{ connection: { at: "connecting" }, ack: "idle" }, "Connecting…"],
  [{ connection: offline, ack: "idle" }, "Offline"],
  [{ connection: offline, ack: "kept" }, "Offline · kept on this device, will be sent"],
  [{ connection: offline, ack: "kept", keepsEdits: false }, "Offline · do not close this page, it will be sent"],
  [{ connection: { at: "offline", why: { code: 1012, reason: "" } }, ack: "idle" }, "Server restarting"],
  [{ connection: { at: "offline", why: { code: 1013, reason: "full" } }, ack: "kept" }, "Server busy · kept on this device, will be sent"],
])("for %j says %j", (view, text) => expect(say(view)).toBe(text));

it("never says saved while it is not live", () => {
  for (const connection of [offline, { at: "connecting" } as const, { at: "refused", code: 4403, reason: "" } as const]) {
    expect(say({ connection })).not.toContain("saved");
  }
});
