/** Keys on the pit page, in one table that the help shows and the listener obeys. */

export type Command =
  | { readonly do: "pen" | "eraser" | "undo" | "redo" | "thinner" | "thicker" | "fit" | "zoomIn" | "zoomOut" | "zoomReset" | "share" | "help" }
  | { readonly do: "ink"; readonly place: number }
  | { readonly do: "pan"; readonly dx: number; readonly dy: number };

const COMMAND_KEY = /Mac|iPhone|iPad/.test(navigator.userAgent) ? "⌘" : "Ctrl";

export const SHORTCUTS: readonly { readonly keys: string; readonly what: string; readonly draws: boolean }[] = [
  { keys: "P", what: "Pen", draws: true },
  { keys: "E", what: "Eraser", draws: true },
  { keys: "1 – 8", what: "Colours", draws: true },
  { keys: "[  ]", what: "Thinner, thicker", draws: true },
  { keys: `${COMMAND_KEY} Z`, what: "Undo your last stroke", draws: true },
  { keys: `${COMMAND_KEY} Shift Z`, what: "Redo", draws: true },
  { keys: "Arrows, Space + drag", what: "Move the paper", draws: false },
  { keys: "+  −  0", what: "Zoom in, out, natural size", draws: false },
  { keys: "F", what: "Fit everything on the screen", draws: false },
  { keys: "S", what: "Share", draws: false },
  { keys: "?", what: "This list", draws: false },
  { keys: "Esc", what: "Drop the stroke, close a dialog", draws: false },
];

const PAN_PX = 60;

export function commandOf(event: Pick<KeyboardEvent, "key" | "ctrlKey" | "metaKey" | "shiftKey" | "altKey">): Command | null {
  const key = event.key.toLowerCase();
  if (event.altKey) return null;
  if (event.ctrlKey || event.metaKey) {
    if (key === "z") return { do: event.shiftKey ? "redo" : "undo" };
    return key === "y" ? { do: "redo" } : null;
  }
  if (/^[1-8]$/.test(key)) return { do: "ink", place: Number(key) - 1 };
  switch (key) {
    case "p": return { do: "pen" };
    case "e": return { do: "eraser" };
    case "[": return { do: "thinner" };
    case "]": return { do: "thicker" };
    case "f": return { do: "fit" };
    case "s": return { do: "share" };
    case "+":
    case "=": return { do: "zoomIn" };
    case "-": return { do: "zoomOut" };
    case "0": return { do: "zoomReset" };
    case "?": return { do: "help" };
    case "arrowleft": return { do: "pan", dx: PAN_PX, dy: 0 };
    case "arrowright": return { do: "pan", dx: -PAN_PX, dy: 0 };
    case "arrowup": return { do: "pan", dx: 0, dy: PAN_PX };
    case "arrowdown": return { do: "pan", dx: 0, dy: -PAN_PX };
    default: return null;
  }
}

/** Keys that belong to the control that has the focus, rather than to the page. */
export function typesInto(target: EventTarget | null): boolean {
  return target instanceof HTMLElement && (target.isContentEditable || /^(INPUT|TEXTAREA|SELECT)$/.test(target.tagName));
}
