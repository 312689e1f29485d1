import { useEffect, useState } from "react";

/** Whole seconds until `endsAtMs`, as they pass; 0 from then on, and null where nothing is waited for. */
export function useCountdown(endsAtMs: number | null): number | null {
  const [nowMs, setNowMs] = useState(() => Date.now());
  const leftS = endsAtMs === null ? null : Math.max(0, Math.ceil((endsAtMs - nowMs) / 1_000));
  const waiting = leftS !== null && leftS > 0;
  useEffect(() => {
    if (!waiting) return;
    const timer = setInterval(() => setNowMs(Date.now()), 250);
    return () => clearInterval(timer);
  }, [waiting, endsAtMs]);
  return leftS;
}

/** "12 s", "3 min" */
export function waitText(seconds: number): string {
  return seconds < 120 ? `${seconds} s` : `${Math.ceil(seconds / 60)} min`;
}
