/** A moment as a person types it, and as a page shows it. */

export type TypedMoment = { readonly seq: number } | { readonly atMs: number; readonly at: string };

/**
 * A Seq (`12`, `#12`), RFC 3339, or a local date and time: `2026-11-24 10:45`, with seconds or
 * without; `10:45:30` alone is that time on the day of `nearMs`.
 */
export function readMoment(text: string, nearMs: number): TypedMoment | null {
  const typed = text.trim();
  const seq = /^#?(\d{1,15})$/.exec(typed);
  if (seq !== null) return { seq: Number(seq[1]) };
  const clock = /^(\d{1,2}):(\d{2})(?::(\d{2}(?:[.,]\d+)?))?$/.exec(typed);
  if (clock !== null) {
    const day = new Date(nearMs);
    const seconds = Number((clock[3] ?? "0").replace(",", "."));
    if (Number(clock[1]) > 23 || Number(clock[2]) > 59 || seconds >= 60) return null;
    day.setHours(Number(clock[1]), Number(clock[2]), Math.floor(seconds), Math.round((seconds % 1) * 1000));
    return timeOf(day.getTime());
  }
  const date = /^(\d{4}-\d{2}-\d{2})(?:[T ](\d{1,2}:\d{2}(?::\d{2}(?:\.\d+)?)?)\s*(Z|[+-]\d{2}:?\d{2})?)?$/i.exec(typed);
  if (date === null) return null;
  const [, day = "", time = "00:00", zone] = date;
  const hours = time.length === 4 || /^\d:/.test(time) ? `0${time}` : time;
  const atMs = Date.parse(`${day}T${hours}${(zone ?? "").toUpperCase()}`);
  if (Number.isNaN(atMs)) return null;
  // What has a zone is given on as it is: it may have microseconds.
  return zone !== undefined && time.length >= 8 ? { atMs, at: `${day}T${hours}${zone.toUpperCase()}` } : timeOf(atMs);
}

function timeOf(atMs: number): TypedMoment | null {
  return Number.isNaN(atMs) ? null : { atMs, at: new Date(atMs).toISOString() };
}

/** What a page's address says of the moment to begin at. A time is the server's to read. */
export type AddressedMoment = { readonly seq: number } | { readonly at: string } | { readonly unreadable: string } | "end";

/** `?seq=12` or `?at=2026-11-24T10:45:00Z`, the first of them if there are both. */
export function addressedMoment(query: URLSearchParams): AddressedMoment {
  const [seq, at] = [query.get("seq"), query.get("at")];
  if (seq !== null) return /^\d{1,15}$/.test(seq) ? { seq: Number(seq) } : { unreadable: seq };
  return at === null ? "end" : { at };
}

const DAY = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "short", year: "numeric" });

/** `24 Nov 2026`, in the person's own way. */
export function dayText(ms: number): string {
  return DAY.format(ms);
}

/** `10:45:30.123`, or without the last part. */
export function clockText(ms: number, withMillis = true): string {
  const date = new Date(ms);
  const two = (part: number): string => String(part).padStart(2, "0");
  const whole = `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
  return withMillis ? `${whole}.${String(date.getMilliseconds()).padStart(3, "0")}` : whole;
}

/** `2026-11-24 10:45:30`, as the jump field takes it. */
export function fieldText(ms: number): string {
  const date = new Date(ms);
  const two = (part: number): string => String(part).padStart(2, "0");
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())} ${clockText(ms, false)}`;
}

/** `3 min`, `2.5 s`, `4 days`: how long a stretch is, roughly. */
export function lengthText(ms: number): string {
  if (ms < 1_000) return `${Math.max(0, Math.round(ms))} ms`;
  for (const [unit, unitMs] of [["day", 86_400_000], ["h", 3_600_000], ["min", 60_000]] as const) {
    if (ms < unitMs) continue;
    const count = ms / unitMs;
    const text = count < 10 ? count.toFixed(1).replace(/\.0$/, "") : String(Math.round(count));
    return `${text} ${unit}${unit === "day" && text !== "1" ? "s" : ""}`;
  }
  return `${(ms / 1_000).toFixed(ms < 10_000 ? 1 : 0).replace(/\.0$/, "")} s`;
}
