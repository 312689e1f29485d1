/**
 * Text rooms: a room and its text.
 *
 * @packageDocumentation
 */

export { anchorOfHex, hexOfAnchor } from "./anchor.js";
export { TextRoom, type Cursor, type TextChange, type TextRoomEvents, type User } from "./text-room.js";
