/** Builds the package: the engine to wasm, its bindings, made small, then the TypeScript. */

import { execFileSync } from "node:child_process";
import { cpSync, mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";

const here = import.meta.dirname;
const target = process.env.CARGO_TARGET_DIR ?? join(here, "target");
const cargo = process.env.CARGO ?? "cargo";
const engine = join(here, "src/engine");

/** @param {string} command @param {string[]} words */
function run(command, words) {
  execFileSync(command, words, { cwd: here, stdio: "inherit" });
}

/** What the compiler may use of wasm: what browsers have had since 2023, and no garbage collection. */
const FEATURES = [
  "--enable-bulk-memory",
  "--enable-bulk-memory-opt",
  "--enable-multivalue",
  "--enable-mutable-globals",
  "--enable-nontrapping-float-to-int",
  "--enable-reference-types",
  "--enable-sign-ext",
];

run(cargo, ["build", "--quiet", "--release", "--locked", "--target", "wasm32-unknown-unknown", "-p", "text-engine"]);
rmSync(engine, { recursive: true, force: true });
mkdirSync(engine, { recursive: true });
const compiled = join(target, "wasm32-unknown-unknown/release/text_engine.wasm");
run(cargo, ["run", "--quiet", "--locked", "-p", "text-pack", "--", compiled, engine]);
const wasm = join(engine, "engine_bg.wasm");
run(process.execPath, [join(here, "node_modules/binaryen/bin/wasm-opt"), "-Oz", ...FEATURES, wasm, "-o", wasm]);

rmSync(join(here, "dist"), { recursive: true, force: true });
run(process.execPath, [join(here, "node_modules/typescript/bin/tsc"), "-p", "tsconfig.build.json"]);
cpSync(engine, join(here, "dist/engine"), { recursive: true });
