import { SPAN_MS, type Range } from "../../observatory/recording";
import type { RibbonEvent } from "../../observatory/sample";
import { clockText, dayText } from "../../past/moment";
import styles from "./Events.module.css";

/** What happened, on the charts' scale of time; and the last of it in words. */
export function Ribbon({ events, range, untilMs }: { events: readonly RibbonEvent[]; range: Range; untilMs: number }) {
  const spanMs = SPAN_MS[range];
  const within = events.filter(({ at }) => at > untilMs - spanMs && at <= untilMs + 1_000);
  const last = events.at(-1);
  const over = range === "1h" ? "hour" : "7 days";
  const count = `${within.length} ${within.length === 1 ? "event" : "events"} in the last ${over}`;
  return (
    <section className={styles.ribbon} data-testid="ribbon" aria-label="Events">
      <div className={styles.strip} role="img" aria-label={count}>
        {within.map((event, index) => (
          <span
            key={`${event.at} ${index}`}
            className={styles.mark}
            data-severity={event.severity}
            title={`${clockText(event.at, false)} ${event.text}`}
            style={{ left: `${Math.min(100, Math.max(0, ((event.at - untilMs + spanMs) / spanMs) * 100))}%` }}
          />
        ))}
      </div>
      <p className={styles.latest}>
        {last === undefined ? (
          "Nothing has happened yet"
        ) : (
          <>
            <Severity of={last} /> <time dateTime={new Date(last.at).toISOString()}>{whenText(last.at, untilMs)}</time> {last.text}
          </>
        )}
      </p>
    </section>
  );
}

/** All that is kept, the newest first. */
export function Events({ events }: { events: readonly RibbonEvent[] }) {
  if (events.length === 0) return <p className={styles.none}>Nothing has happened yet.</p>;
  return (
    <ol className={styles.events} data-testid="events">
      {[...events].reverse().map((event, index) => (
        <li key={`${event.at} ${events.length - index}`} data-testid="event" data-kind={event.kind}>
          <time dateTime={new Date(event.at).toISOString()}>
            {dayText(event.at)}, {clockText(event.at, false)}
          </time>
          <Severity of={event} />
          <span>{event.text}</span>
        </li>
      ))}
    </ol>
  );
}

const KINDS: Readonly<Record<string, string>> = {
  start: "start",
  config_reload: "configuration",
  evict: "evicted",
  clock_jump: "clock jump",
  log_poisoned: "log poisoned",
  archive_error: "archive",
  archive_recovered: "archive",
  certificate: "certificate",
  limit_surge: "limits",
};

function Severity({ of: { kind, severity } }: { of: RibbonEvent }) {
  return (
    <span className={styles.kind} data-severity={severity}>
      {severity === "info" ? "" : severity === "warn" ? "Warning: " : "Error: "}
      {KINDS[kind] ?? kind.replaceAll("_", " ")}
    </span>
  );
}

function whenText(at: number, nowMs: number): string {
  return nowMs - at < SPAN_MS["1h"] ? clockText(at, false) : `${dayText(at)}, ${clockText(at, false)}`;
}
