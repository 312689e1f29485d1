import { useState } from "react";
import { useCountdown, waitText } from "../design/countdown";
import type { Connection } from "../room/connection";
import { waitOf, withoutWait } from "../room/refusal";
import styles from "./Later.module.css";

const BUSY = 1013;

/** Why the server does not take this page now, in its own words. It is tried again by itself. */
export function Later({ connection }: { connection: Connection }) {
  const why = connection.at === "offline" ? connection.why : null;
  if (why === null || why.code !== BUSY || why.reason === "") return null;
  return <Busy key={why.reason} reason={why.reason} />;
}

function Busy({ reason }: { reason: string }) {
  const [endsAtMs] = useState(() => {
    const waitS = waitOf(reason);
    return waitS === null ? null : Date.now() + waitS * 1_000;
  });
  const left = useCountdown(endsAtMs);
  return (
    <p className={styles.later} role="status" data-testid="later">
      The server is busy: {withoutWait(reason)}. {left !== null && left > 0 ? <span aria-hidden="true">{waitText(left)} left.</span> : "This page tries again by itself."}
    </p>
  );
}
