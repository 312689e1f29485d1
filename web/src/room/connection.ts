/**
 * The state of a page's connection to its room, as a person should see it, and what each permanent
 * refusal means. The broker closes with 4400–4499 when trying again cannot help; every other code
 * is a connection that comes back by itself.
 */

export type Connection =
  /** The first attempt, or an open socket whose document has not arrived yet. */
  | { readonly at: "connecting" }
  | { readonly at: "live" }
  /** Not connected; trying again. `restarting` when the server said so itself (1012, 1013). */
  | { readonly at: "offline"; readonly restarting: boolean }
  | { readonly at: "refused"; readonly code: number; readonly reason: string };

export interface Refusal {
  readonly title: string;
  readonly detail: string;
}

export const NO_SUCH_ROOM = 4404;
const FORBIDDEN = 4403;

const REFUSALS: ReadonlyMap<number, Refusal> = new Map([
  [4401, { title: "Who goes there?", detail: "This pit asks for a token, and the link you followed carries none that is valid. Ask for a fresh link." }],
  [FORBIDDEN, { title: "Not for you to open", detail: "Your token does not reach this pit. Ask the person who shared it for another link." }],
  [NO_SUCH_ROOM, { title: "There is no such pit", detail: "It was deleted, or the code is not quite right. Check the code, or start a new pit." }],
  [4408, { title: "That took too long", detail: "The server waited for your token and gave up. Try once more." }],
  [4409, { title: "Someone took your place", detail: "This session was replaced by a newer one, or your copy no longer fits the room. Open the pit again." }],
  [4413, { title: "Too large to take", detail: "A single change, or the pit itself, has outgrown what the server allows." }],
  [4429, { title: "Over quota", detail: "This pit, or this address, has used up what it is allowed for now. Wait a little before you try again." }],
]);

export function refusalOf(code: number): Refusal {
  return (
    REFUSALS.get(code) ?? {
      title: "The server said no",
      detail: "It closed the connection for good and gave a code this page does not know.",
    }
  );
}

export function isRestarting(code: number | undefined): boolean {
  return code === 1012 || code === 1013;
}

/** A thing that may work when it is simply tried again, by hand. */
export function worthRetrying(code: number): boolean {
  return code !== NO_SUCH_ROOM && code !== FORBIDDEN;
}
