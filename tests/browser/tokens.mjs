/** A server that takes tokens, and tokens for it. */

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { Server, UNLIMITED_PITS } from "../clients/server.mjs";

const SECRET = "a secret of the tests that has more than 32 bytes";
const CONFIG = `
${UNLIMITED_PITS}
access = "create-with-token"
records_per_month = 1000
bytes_per_month = "1MB"
[spaces.text]
kind = "text"
access = "token"
`;

/** A server where pits take a token to write and texts one to come in. */
export async function closedServer() {
  process.env.WELL_AUTH_SECRET = SECRET;
  try {
    return await Server.start({ config: CONFIG });
  } finally {
    delete process.env.WELL_AUTH_SECRET;
  }
}

/**
 * A token as `well token mint` makes it.
 * @param {string} room a pattern
 * @param {string} role
 * @param {{ seconds?: number, jti?: string, tenant?: string }} [options]
 */
export function mint(room, role, { seconds = 3_600, jti, tenant } = {}) {
  const part = (/** @type {object} */ value) => Buffer.from(JSON.stringify(value)).toString("base64url");
  const now = Math.floor(Date.now() / 1_000);
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ room, role, iat: Math.min(now, now + seconds), exp: now + seconds, ...(jti === undefined ? {} : { jti }), ...(tenant === undefined ? {} : { tenant }) })}`;
  return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
}

/**
 * A new pit, as somebody with a token for all pits makes one. Gives its address and its code.
 * @param {Server} server
 */
export async function newPit(server) {
  const made = await server.request("/api/v1/pits", { method: "POST", headers: { authorization: `Bearer ${mint("pit/*", "creator")}` } });
  assert.equal(made.status, 201);
  const { name } = /** @type {{ name: string }} */ (await made.json());
  return { slug: name, url: `${server.http}/pit/${name}` };
}
