/** What can go wrong, with one code for each cause. After any error but `crashed` the text is as it was. */

/**
 * Why something was refused.
 *
 * | code | what happened | what to do |
 * | --- | --- | --- |
 * | `argument` | an argument is of no use to anyone: a position that is no whole number, a client beyond 64 bits | correct the call |
 * | `outside` | a position or range is not within the text | correct the call |
 * | `inside-character` | a position is between surrogates, or between bytes of a character | move it |
 * | `full` | the text cannot grow any more | start another |
 * | `too-many-waiting` | too many updates wait for what they build on | ask for what is `missing()`, then apply it again |
 * | `gap` | ticks between two updates to be merged are in neither | merge what lies between, too |
 * | `unknown-seq` | the past is known up to an earlier Seq only | ask the server |
 * | `forgotten-seq` | the text was loaded without its history | ask the server |
 * | `malformed` | the bytes are not what they should be; the sender's fault | drop them |
 * | `not-ready` | `init()` has not ended | wait for it |
 * | `freed` | the text was freed | keep it longer |
 * | `crashed` | the engine failed, for want of memory or by a defect, and is of no use from then on | reload the page |
 */
export type TextErrorCode =
  | "argument"
  | "outside"
  | "inside-character"
  | "full"
  | "too-many-waiting"
  | "gap"
  | "unknown-seq"
  | "forgotten-seq"
  | "malformed"
  | "not-ready"
  | "freed"
  | "crashed";

/** An error of this package; `code` says which. */
export class TextError extends Error {
  override readonly name = "TextError";
  readonly code: TextErrorCode;

  constructor(code: TextErrorCode, message: string, options?: ErrorOptions) {
    super(message, options);
    this.code = code;
  }
}

const MALFORMED: Readonly<Record<number, string>> = {
  11: "the bytes end too early",
  12: "a number is padded or too large",
  13: "text is not UTF-8",
  14: "an operation of length 0",
  15: "a reference to what cannot be there",
  16: "parts do not fit together",
  17: "bytes after the end",
};

/** The error that the engine packed into a number: see `engine/src/error.rs`. */
export function unpack(packed: bigint): TextError {
  const code = Number(packed & 0xffn);
  const first = (packed >> 8n) & 0xffff_ffff_ffff_ffffn;
  const second = packed >> 72n;
  switch (code) {
    case 1:
      return new TextError("outside", `position ${second} or what follows it is past the end of the text, which is ${first} long`);
    case 2:
      return new TextError("inside-character", `position ${second} is inside a character`);
    case 3:
      return new TextError("full", "the text cannot grow any more");
    case 4:
      return new TextError("too-many-waiting", "too many updates wait for what they build on; ask for what is missing");
    case 5:
      return new TextError("gap", `ticks from ${second} on of client ${first} are missing between two updates`);
    case 6:
      return new TextError("unknown-seq", `the past is known here up to Seq ${first}`);
    case 7:
      return new TextError("forgotten-seq", `the history before Seq ${first} is not here`);
    case 10:
      return new TextError("malformed", `format version ${first} is not known here`);
    default:
      return new TextError("malformed", MALFORMED[code] ?? "malformed bytes");
  }
}
