const STEPS: readonly [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
];

/** "3 hours ago"; "just now" within the minute, and for clocks that ran ahead. */
export function timeAgo(thenMs: number, nowMs: number): string {
  const passedMs = nowMs - thenMs;
  for (const [unit, unitMs] of STEPS) {
    if (passedMs >= unitMs) {
      return new Intl.RelativeTimeFormat("en", { numeric: "auto" }).format(-Math.floor(passedMs / unitMs), unit);
    }
  }
  return "just now";
}

/** What is told may be this late: an hour that has just begun is an hour. */
const LATE_MS = 59_000;

/** "in 3 hours", rounded down; "within a minute" at the end. */
export function timeLeft(thenMs: number, nowMs: number): string {
  const leftMs = thenMs - nowMs + LATE_MS;
  for (const [unit, unitMs] of STEPS) {
    if (leftMs >= unitMs + (unit === "minute" ? LATE_MS : 0)) return new Intl.RelativeTimeFormat("en", { numeric: "always" }).format(Math.floor(leftMs / unitMs), unit);
  }
  return "within a minute";
}
