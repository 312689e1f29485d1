/**
 * A text that many edit at once and that remembers everything.
 *
 * @packageDocumentation
 */

export { TextError, type TextErrorCode } from "./error.js";
export { init, initSync, type EngineSource } from "./start.js";
export { Text } from "./text.js";
export type { Anchor, Applied, Bias, Change, Measure, Missing, Place, TakenBack, TextEvent, Version } from "./text.js";
