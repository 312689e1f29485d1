/**
 * A Well of one's own: every test file starts the real binary on a free port with a fresh folder,
 * and takes both away at its end. Used by the client and the browser tests.
 */

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

const START_MS = 30_000;
/** For a well.toml: all tests come from one address, and none of them is to wait for another. */
export const UNLIMITED_PITS = `[spaces.pit]
updates_per_minute = "off"
bytes_per_minute = "off"
max_update = "16MiB"
max_document = "off"
max_rooms = "off"
max_total = "off"
connections_per_ip = "off"
joins_per_ip_per_minute = "off"
new_rooms_per_ip_per_hour = "off"
`;

/** A stop may take 30 s; what is slower is a failure. */
const STOP_MS = 30_000;

export class Server {
  /** @type {import("node:child_process").ChildProcess | null} */
  #process = null;
  #port = 0;
  #exited = Promise.resolve(/** @type {Exit} */ ({ code: 0, signal: null }));
  #folder;
  #store;
  #config;
  /** What the server said on standard error, for a test that fails. */
  log = "";

  /** @param {{ store?: "sled" | "memory", config?: string }} [options] `config` is a well.toml's text */
  constructor({ store = "sled", config = "" } = {}) {
    this.#store = store;
    this.#config = config;
    this.#folder = mkdtempSync(join(tmpdir(), "well-test-"));
    // A test that dies must not leave a server behind.
    process.on("exit", () => {
      this.#process?.kill("SIGKILL");
      rmSync(this.#folder, { recursive: true, force: true });
    });
  }

  /** @param {ConstructorParameters<typeof Server>[0]} [options] */
  static async start(options) {
    const server = new Server(options);
    await server.start();
    return server;
  }

  /** What the next start reads. @param {string} config a well.toml's text */
  configure(config) {
    this.#config = config;
  }

  /** Starts, or starts again: on the same port and the same folder. Resolves when it listens. */
  async start() {
    const config = join(this.#folder, "well.toml");
    writeFileSync(config, this.#config.includes("[spaces.pit]") ? this.#config : `${this.#config}\n${UNLIMITED_PITS}`);
    const data = join(this.#folder, "data");
    const listen = `127.0.0.1:${this.#port}`;
    const args = ["serve", "--listen", listen, "--data", data, "--store", this.#store, "--config", config];
    const child = spawn(binary(), args, { stdio: ["ignore", "pipe", "pipe"] });
    this.#process = child;
    this.#exited = new Promise((done, fail) => {
      child.on("exit", (code, signal) => done({ code, signal }));
      child.on("error", fail);
    });
    child.stderr.setEncoding("utf8").on("data", (text) => {
      this.log = (this.log + text).slice(-64_000);
    });
    let said = "";
    const listening = new Promise((done) => {
      child.stdout.setEncoding("utf8").on("data", (text) => {
        said += text;
        const match = /listening on http:\/\/127\.0\.0\.1:(\d+)\n/.exec(said);
        if (match !== null) done(Number(match[1]));
      });
    });
    const died = this.#exited.then(({ code, signal }) => {
      throw new Error(`the server ended (${code ?? signal}) before it listened:\n${this.log}`);
    });
    died.catch(() => {});
    this.#port = await within(START_MS, "the server listens", Promise.race([listening, died]));
  }

  /** `http://127.0.0.1:port` */
  get http() {
    return `http://127.0.0.1:${this.#port}`;
  }

  /** `ws://127.0.0.1:port` */
  get ws() {
    return `ws://127.0.0.1:${this.#port}`;
  }

  get pid() {
    return this.#process?.pid ?? 0;
  }

  /** SIGTERM. Gives how the process ended and how long that took. */
  async stop() {
    const began = performance.now();
    this.#process?.kill("SIGTERM");
    const exit = await within(STOP_MS, "the server stops", this.#exited);
    this.#process = null;
    return { ...exit, ms: performance.now() - began };
  }

  /** SIGKILL: nothing in the process gets to run again. */
  async kill() {
    this.#process?.kill("SIGKILL");
    await within(STOP_MS, "the server is dead", this.#exited);
    this.#process = null;
  }

  /** For the end of a test: gone at once, with its folder. */
  async remove() {
    await this.kill();
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /**
   * A request to the HTTP API.
   * @param {string} path
   * @param {RequestInit} [init]
   */
  request(path, init) {
    return fetch(this.http + path, { signal: AbortSignal.timeout(15_000), ...init });
  }

  /**
   * The room's document as one update, or null when there is no such room.
   * @param {string} space
   * @param {string} name
   */
  async snapshot(space, name) {
    const response = await this.request(`/api/v1/rooms/${space}/${encodeURIComponent(name)}/snapshot`);
    if (response.status === 404) return null;
    if (!response.ok) throw new Error(`snapshot of ${space}/${name}: ${response.status} ${await response.text()}`);
    return new Uint8Array(await response.arrayBuffer());
  }
}

/** @typedef {{ code: number | null, signal: NodeJS.Signals | null }} Exit */

function binary() {
  const root = resolve(fileURLToPath(import.meta.url), "../../..");
  return process.env.WELL_BIN ?? join(process.env.CARGO_TARGET_DIR ?? join(root, "target"), "debug/well");
}

/**
 * @template T
 * @param {number} ms
 * @param {string} what
 * @param {Promise<T>} promise
 * @returns {Promise<T>}
 */
export async function within(ms, what, promise) {
  let timer;
  const late = new Promise((_, fail) => {
    timer = setTimeout(() => fail(new Error(`not within ${ms} ms: ${what}`)), ms);
  });
  try {
    return await Promise.race([promise, /** @type {Promise<T>} */ (late)]);
  } finally {
    clearTimeout(timer);
  }
}

/**
 * Looks again and again until `probe` gives something truthy, and gives that.
 * @template T
 * @param {string} what
 * @param {() => T | Promise<T>} probe
 * @param {number} [ms]
 * @returns {Promise<T>}
 */
export async function until(what, probe, ms = 10_000) {
  const deadline = performance.now() + ms;
  for (;;) {
    const found = await probe();
    if (found) return found;
    if (performance.now() > deadline) throw new Error(`not within ${ms} ms: ${what}`);
    await pause(15);
  }
}

/** @param {number} ms */
export function pause(ms) {
  return new Promise((done) => {
    setTimeout(done, ms);
  });
}
