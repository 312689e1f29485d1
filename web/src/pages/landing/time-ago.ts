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
