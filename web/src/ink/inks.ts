/**
 * The inks of a pit. A stroke names its ink and never a colour, so that the same drawing is legible
 * on light and on dark paper: the colours are custom properties in `design/tokens.css`.
 */

export const INKS = ["ink", "red", "orange", "yellow", "green", "blue", "violet", "pink"] as const;
export type Ink = (typeof INKS)[number];

export const INK_NAMES: Readonly<Record<Ink, string>> = {
  ink: "Ink",
  red: "Red",
  orange: "Orange",
  yellow: "Yellow",
  green: "Green",
  blue: "Blue",
  violet: "Violet",
  pink: "Pink",
};

/** Pen widths in canvas units. */
export const WIDTHS = [3, 6, 12, 24] as const;
export const WIDTH_MIN = 0.5;
export const WIDTH_MAX = 64;

export function isInk(value: unknown): value is Ink {
  return INKS.some((ink) => ink === value);
}

export function inkVariable(ink: Ink): `--ink-${Ink}` {
  return `--ink-${ink}`;
}

/** The inks' colours as the page's theme has them now. */
export function inkColours(element: Element): ReadonlyMap<Ink, string> {
  const style = getComputedStyle(element);
  return new Map(INKS.map((ink) => [ink, style.getPropertyValue(inkVariable(ink)).trim() || "#1c2b30"]));
}
