/**
 * A text room at a moment, in its authors' colours; or what changed since an earlier record.
 *
 * The server tells each moment by itself. Only the lines in sight are in the page, so that a text of any
 * length scrolls.
 */

import { useEffect, useMemo, useRef, useState, type CSSProperties } from "react";
import { fetchChanges, fetchText } from "../../api/past";
import type { Replay, ReplayView } from "../../past/replay";
import { linesOf, type AuthoredText, type Line, type TextChange } from "../../past/text";
import { authorName, colourVariable, type Palette } from "./authors";
import styles from "./TextView.module.css";
import { showReplayHandle } from "./test-handle";

/** In px, as in the style sheet. */
const LINE_HEIGHT = 24;
const LINES_AROUND = 20;
/** Of one line so many pieces are in sight, each with so many characters. */
const PIECES_MAX = 200;
const PIECE_MAX = 2_000;

type Coloured = CSSProperties & { readonly "--author": string };

interface Shown {
  readonly seq: number;
  readonly since: number | null;
  readonly text: AuthoredText;
  readonly changes: readonly TextChange[];
}

export function TextView({ replay, view, palette }: { replay: Replay; view: ReplayView; palette: Palette }) {
  const { seq } = view;
  const [since, setSince] = useState<number | null>(null);
  useEffect(() => showReplayHandle(replay, null), [replay]);
  const from = since === null ? null : Math.min(since, seq);
  const { shown, failed } = useShown(replay, seq, from);
  const lines = useMemo(() => (shown === null ? [] : linesOf(shown.text, shown.changes)), [shown]);
  return (
    <div className={styles.view} data-testid="text-view" data-seq={shown?.seq ?? ""} data-since={shown?.since ?? ""}>
      <div className={styles.bar}>
        <label className={styles.check}>
          <input type="checkbox" checked={since !== null} onChange={(event) => setSince(event.target.checked ? Math.max(0, seq - 1) : null)} data-testid="compare" />
          <span>Compare with record</span>
        </label>
        <input
          type="number"
          min={0}
          max={seq}
          value={since ?? ""}
          disabled={since === null}
          onChange={(event) => setSince(Math.max(0, Math.round(Number(event.target.value))))}
          aria-label="The earlier record"
          data-testid="since"
        />
        {from === null ? null : (
          <span className={styles.key}>
            <ins>came</ins> <del>went</del>
          </span>
        )}
      </div>
      {failed ? <p role="alert" className={styles.note}>This moment cannot be read right now.</p> : null}
      {shown !== null && lines.length === 1 && lines[0]?.length === 0 ? <p className={styles.note}>Nothing is written at this moment.</p> : null}
      <Window lines={lines} palette={palette} />
    </div>
  );
}

/** The lines in sight. */
function Window({ lines, palette }: { lines: readonly Line[]; palette: Palette }) {
  const scroller = useRef<HTMLDivElement>(null);
  const [top, setTop] = useState(0);
  const [height, setHeight] = useState(800);
  useEffect(() => {
    const element = scroller.current;
    if (element === null) return;
    const observer = new ResizeObserver(() => setHeight(element.clientHeight));
    observer.observe(element);
    return () => observer.disconnect();
  }, []);
  const first = Math.max(0, Math.floor(top / LINE_HEIGHT) - LINES_AROUND);
  const last = Math.min(lines.length, Math.ceil((top + height) / LINE_HEIGHT) + LINES_AROUND);
  return (
    <div ref={scroller} className={styles.scroll} onScroll={(event) => setTop(event.currentTarget.scrollTop)} tabIndex={0} role="region" aria-label="The text at this moment" data-testid="document" data-kind="text" data-lines={lines.length}>
      <div className={styles.sheet} style={{ height: lines.length * LINE_HEIGHT }}>
        <pre className={styles.lines} style={{ top: first * LINE_HEIGHT }} data-testid="text">
          {lines.slice(first, last).map((line, index) => (
            <Row key={first + index} number={first + index + 1} line={line} palette={palette} />
          ))}
        </pre>
      </div>
    </div>
  );
}

function Row({ number, line, palette }: { number: number; line: Line; palette: Palette }) {
  return (
    <div className={styles.row}>
      <span className={styles.number} aria-hidden="true">{number}</span>
      {line.slice(0, PIECES_MAX).map(({ text, author, fate }, index) => {
        const Tag = fate === "inserted" ? "ins" : fate === "deleted" ? "del" : "span";
        const colour: Coloured = { "--author": `var(${colourVariable(palette, author)})` };
        return (
          <Tag key={index} title={authorName(author)} style={colour}>
            {text.length > PIECE_MAX ? `${text.slice(0, PIECE_MAX)}…` : text}
          </Tag>
        );
      })}
      {line.length > PIECES_MAX ? <span className={styles.cut}>…</span> : null}
    </div>
  );
}

/** What the server says of a moment; the last one stays until the next is here. */
function useShown(replay: Replay, seq: number, since: number | null): { shown: Shown | null; failed: boolean } {
  const [shown, setShown] = useState<Shown | null>(null);
  const [failed, setFailed] = useState(false);
  useEffect(() => {
    const leaving = new AbortController();
    const asked = Promise.all([fetchText(replay.room, seq, leaving.signal), since === null ? [] : fetchChanges(replay.room, since, seq, leaving.signal)]);
    asked.then(
      ([text, changes]) => {
        setShown({ seq, since, text, changes });
        setFailed(false);
      },
      () => {
        if (!leaving.signal.aborted) setFailed(true);
      },
    );
    return () => leaving.abort();
  }, [replay, seq, since]);
  return { shown, failed };
}
