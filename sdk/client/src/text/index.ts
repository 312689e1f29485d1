/**
 * Text rooms: a room and its text.
 *
 * @packageDocumentation
 */

export { anchorOfHex, hexOfAnchor } from "./anchor.js";
export { difference } from "./difference.js";
export { TextRoom, type Cursor, type Lost, type TextChange, type TextRoomEvents, type User } from "./text-room.js";
