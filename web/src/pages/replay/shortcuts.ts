/** Keys on the replay page, in one table that the help shows and the listener obeys. */

export type Command = "toggle" | "back" | "on" | "leapBack" | "leapOn" | "start" | "end" | "faster" | "slower" | "help";

export const SHORTCUTS: readonly { readonly keys: string; readonly what: string }[] = [
  { keys: "Space", what: "Play, pause" },
  { keys: "←  →", what: "One record back, on" },
  { keys: "Shift ←  →", what: "A larger step" },
  { keys: "Home  End", what: "To the start, to the end" },
  { keys: "[  ]", what: "Slower, faster" },
  { keys: "?", what: "This list" },
  { keys: "Esc", what: "Close a dialog" },
];

type Key = Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey" | "shiftKey" | "altKey" | "target">;

export function commandOf({ key, ctrlKey, metaKey, shiftKey, altKey, target }: Key): Command | null {
  if (ctrlKey || metaKey || altKey || takesKeys(target)) return null;
  switch (key) {
    case " ": return pressable(target) ? null : "toggle";
    case "ArrowLeft":
    case "ArrowDown": return shiftKey ? "leapBack" : "back";
    case "ArrowRight":
    case "ArrowUp": return shiftKey ? "leapOn" : "on";
    case "PageDown": return "leapBack";
    case "PageUp": return "leapOn";
    case "Home": return "start";
    case "End": return "end";
    case "]": return "faster";
    case "[": return "slower";
    case "?": return "help";
    default: return null;
  }
}

/** Controls and long texts that have a use of their own for keys. */
function takesKeys(target: EventTarget | null): boolean {
  if (!(target instanceof HTMLElement)) return false;
  if (target instanceof HTMLInputElement) return target.type !== "checkbox";
  return /^(TEXTAREA|SELECT)$/.test(target.tagName) || target.getAttribute("role") === "region";
}

function pressable(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && /^(BUTTON|A|SUMMARY|INPUT)$/.test(target.tagName);
}
