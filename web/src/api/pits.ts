import { isRecord } from "../room/browser-storage";
import { slugOfPath } from "../room/slug";
import { tokenToCreate } from "../room/tokens";
import { askFor, tokenOf, type Answer } from "./ask";
import { roleHere, type RoleHere } from "./rooms";

const TIMEOUT_MS = 10_000;
/** Pits that this page has started itself. */
const started = new Set<string>();

/** Whether there is such a pit and what the page may be in it. Nobody answering is `unknown`. */
export async function lookAtPit(slug: string, timeoutMs: number): Promise<RoleHere> {
  if (started.has(slug)) return "unknown";
  return roleHere({ space: "pit", name: slug }, tokenOf("pit", slug), timeoutMs);
}

/** `POST /api/v1/pits`: a new pit with a code nobody has used. Gives the code. */
export async function startPit(): Promise<Answer<string>> {
  const token = tokenToCreate("pit", Date.now())?.token ?? null;
  const answer = await askFor("/api/v1/pits", { method: "POST", token, timeoutMs: TIMEOUT_MS }, (body) =>
    isRecord(body) && typeof body["name"] === "string" ? slugOfPath(body["name"]) : null,
  );
  if (answer.ok) started.add(answer.value);
  return answer;
}
