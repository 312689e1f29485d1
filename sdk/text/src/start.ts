/** Starting the engine: one instance of the wasm module, which all texts share. */

import startEngine, { initSync as startEngineSync } from "./engine/engine.js";
import { TextError, unpack } from "./error.js";

/** Where the engine's wasm comes from. */
export type EngineSource =
  | string
  | URL
  | Response
  | Promise<Response>
  | ArrayBuffer
  | Uint8Array<ArrayBuffer>
  | WebAssembly.Module;

let started: Promise<void> | undefined;
let state: "off" | "on" | "crashed" = "off";

/**
 * Starts the engine; wait for it before anything else. Calling it again changes nothing, unless the
 * last time failed.
 *
 * @param source where the wasm is. Without it, the file beside this module: Node.js reads it, a browser
 * fetches it (bundlers that know `new URL(…, import.meta.url)` bring it along). A URL or a `Response`
 * is fetched and compiled while it comes; bytes and a compiled module are taken as they are.
 */
export function init(source?: EngineSource): Promise<void> {
  started ??= start(source ?? new URL("./engine/engine_bg.wasm", import.meta.url)).catch((error: unknown) => {
    started = undefined;
    throw error;
  });
  return started;
}

/** Starts the engine from bytes or a compiled module at once. */
export function initSync(source: ArrayBuffer | Uint8Array<ArrayBuffer> | WebAssembly.Module): void {
  if (state !== "off") return;
  startEngineSync({ module: source });
  state = "on";
  started = Promise.resolve();
}

async function start(source: EngineSource): Promise<void> {
  const file = source instanceof URL && source.protocol === "file:" ? await read(source) : source;
  if (state !== "off") return;
  await startEngine({ module_or_path: file });
  state = "on";
}

/** A file's bytes in Node.js, whose `fetch` knows no files. */
async function read(url: URL): Promise<Uint8Array<ArrayBuffer>> {
  // By a name, so that bundlers for browsers do not look for it.
  const name = "node:fs/promises";
  const { readFile } = (await import(/* @vite-ignore */ name)) as typeof import("node:fs/promises");
  return new Uint8Array(await readFile(url));
}

/** Runs a call of the engine, and gives its errors their types. */
export function run<T>(call: () => T): T {
  if (state !== "on") {
    throw state === "off"
      ? new TextError("not-ready", "the engine is not there yet: `await init()` first")
      : new TextError("crashed", "the engine crashed before, and can do nothing any more");
  }
  try {
    return call();
  } catch (error) {
    if (typeof error === "bigint") throw unpack(error);
    if (error instanceof TextError) throw error;
    if (error instanceof TypeError) {
      // JavaScript could not hand an argument over: the engine has not been entered.
      throw new TextError("argument", `an argument is of a wrong type: ${error.message}`, { cause: error });
    }
    // Whatever it was doing is half done, in memory that all texts share.
    state = "crashed";
    throw new TextError("crashed", "the engine crashed, and can do nothing any more", { cause: error });
  }
}
