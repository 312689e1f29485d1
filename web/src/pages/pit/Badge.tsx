import { useEffect, useState } from "react";
import { badgeText, type Told } from "./badge-text";
import styles from "./Badge.module.css";

/** How long edits must have been saved before the badge says so: strokes should not make it flicker. */
const CALM_MS = 250;

/**
 * `data-testid="connection"` carries the connection's state and `data-testid="badge"` what is known
 * about our edits. The badge leaves *saved* at once and comes back to it after a short calm.
 */
export function Badge({ view }: { view: Told }) {
  const calm = useCalm(view.ack === "saved" && view.connection.at === "live");
  const ack = view.ack === "saved" && !calm ? "saving" : view.ack;
  const { tone, connection, edits } = badgeText({ ...view, ack });
  return (
    <>
      <div className={styles.badge} data-tone={tone} data-testid="badge" data-state={ack}>
        <span className={styles.dot} aria-hidden="true" />
        <span data-testid="connection" data-state={view.connection.at}>
          {connection}
        </span>
        {edits === null ? null : (
          <span className={styles.edits} data-testid="saved-state">
            {edits}
          </span>
        )}
      </div>
      <Announcement view={view} />
    </>
  );
}

/** For screen readers: changes of the connection, and the end of a wait; not every single stroke. */
function Announcement({ view }: { view: Told }) {
  const { connection, edits } = badgeText(view);
  const worthSaying = view.connection.at === "live" && view.ack !== "refused" ? connection : `${connection}${edits === null ? "" : `, ${edits}`}`;
  return (
    <span className={styles.spoken} role="status" aria-live="polite">
      {worthSaying}
    </span>
  );
}

function useCalm(now: boolean): boolean {
  const [calm, setCalm] = useState(false);
  useEffect(() => {
    if (!now) return;
    const timer = setTimeout(() => setCalm(true), CALM_MS);
    return () => {
      clearTimeout(timer);
      setCalm(false);
    };
  }, [now]);
  return now && calm;
}
