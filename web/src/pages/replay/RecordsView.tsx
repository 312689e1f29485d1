/** A room whose payloads the server cannot read is what was written to it, record by record. */

import { useEffect, useMemo } from "react";
import { clockText, dayText } from "../../past/moment";
import type { PastRecord } from "../../past/records";
import type { Replay, ReplayView } from "../../past/replay";
import { isCut } from "../../past/timeline";
import { authorName, colourVariable, type Palette } from "./authors";
import styles from "./DocumentView.module.css";
import { showReplayHandle } from "./test-handle";

const ROWS = 120;
const PREVIEW_BYTES = 64;

export function RecordsView({ replay, view, palette }: { replay: Replay; view: ReplayView; palette: Palette }) {
  const { seq, timeline } = view;
  const gone = timeline !== null && isCut(timeline);
  useEffect(() => showReplayHandle(replay, null), [replay]);
  // The latest first: what the handle stands at is in sight.
  // eslint-disable-next-line react-hooks/exhaustive-deps -- records come in with the Seq
  const rows = useMemo(() => [...replay.records(seq - ROWS + 1, seq)].reverse(), [replay, seq, view.record]);
  return (
    <div className={styles.scroll} tabIndex={0} role="region" aria-label="The records up to this moment" data-testid="records">
      {rows.length === 0 ? <p className={styles.empty}>{gone ? "What was written up to here is kept in a snapshot only, and is not listed." : "Nothing is written at this moment."}</p> : null}
      <ol className={styles.records} reversed>
        {rows.map((record) => (
          <li key={record.seq} data-seq={record.seq}>
            <span className={styles.dot} style={{ backgroundColor: `var(${colourVariable(palette, record.author)})` }} />
            <span className={styles.number}>{record.seq.toLocaleString()}</span>
            <span className={styles.when} title={`${dayText(record.atMs)}, ${authorName(record.author)}`}>{clockText(record.atMs)}</span>
            <code className={styles.payload}>{record.kind === "update" ? preview(record) : record.kind}</code>
            <span className={styles.size}>{record.payload.length} B</span>
          </li>
        ))}
      </ol>
    </div>
  );
}

/** Text if it is text, else its bytes in hexadecimal. */
function preview({ payload }: PastRecord): string {
  const part = payload.subarray(0, PREVIEW_BYTES);
  const more = payload.length > PREVIEW_BYTES ? "…" : "";
  const text = new TextDecoder().decode(part);
  if (!/[\p{Cc}\ufffd]/u.test(text)) return text + more;
  return Array.from(part.subarray(0, 24), (byte) => byte.toString(16).padStart(2, "0")).join(" ") + (payload.length > 24 ? "…" : "");
}
