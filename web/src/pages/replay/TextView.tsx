/**
 * A text room at a moment, in its authors' colours; or what changed since an earlier record.
 *
 * The server tells each moment by itself. Long lines are wrapped. Only the lines in sight are in the page, so
 * that a text of any length scrolls: how high the others stand is guessed (`LineHeights`), and where the guess
 * was wrong the line at the top of the window keeps its place.
 */

import { useEffect, useLayoutEffect, useMemo, useRef, useState, type CSSProperties, type RefObject } from "react";
import { fetchChanges, fetchText } from "../../api/past";
import type { Replay, ReplayView } from "../../past/replay";
import { linesOf, type AuthoredText, type Line, type TextChange } from "../../past/text";
import { authorName, colourVariable, type Palette } from "./authors";
import { LineHeights } from "./line-heights";
import styles from "./TextView.module.css";
import { showReplayHandle } from "./test-handle";

/** In px, as in the style sheet. */
const LINE_HEIGHT = 24;
const LINES_AROUND = 20;
/** A moment that is not here by then is said to be on its way. */
const LATE_MS = 500;
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
  const late = useLate(shown?.seq !== seq || shown.since !== from);
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
      <p role="status" className={styles.late} data-testid="text-late">
        {late && !failed ? "Reading this moment…" : ""}
      </p>
      {failed ? <p role="alert" className={styles.note}>This moment cannot be read right now.</p> : null}
      {shown !== null && lines.length === 1 && lines[0]?.length === 0 ? <p className={styles.note}>Nothing is written at this moment.</p> : null}
      <Window lines={lines} palette={palette} />
    </div>
  );
}

/** Whether something has been waited for so long that it has to be said. */
function useLate(waits: boolean): boolean {
  const [late, setLate] = useState(false);
  useEffect(() => {
    if (!waits) return;
    const timer = setTimeout(() => setLate(true), LATE_MS);
    return () => {
      clearTimeout(timer);
      setLate(false);
    };
  }, [waits]);
  return waits && late;
}

/** The lines in sight. */
function Window({ lines, palette }: { lines: readonly Line[]; palette: Palette }) {
  const scroller = useRef<HTMLDivElement>(null);
  const shown = useRef<HTMLPreElement>(null);
  const { columns, height } = useSize(scroller, shown);
  const heights = useMemo(() => new LineHeights(lines.map(lengthOf), columns, LINE_HEIGHT), [lines, columns]);
  const [top, setTop] = useState(0);
  /** What keeps its place: the line at the top of the window, with how much of it is above that, or the text's end. */
  const anchor = useRef<{ readonly line: number; readonly above: number } | "end">({ line: 0, above: 0 });
  const [corrections, setCorrections] = useState(0);

  const first = Math.max(0, heights.lineAt(top) - LINES_AROUND);
  const last = Math.min(lines.length, heights.lineAt(top + height) + LINES_AROUND);

  useLayoutEffect(() => {
    const [window, drawn] = [scroller.current, shown.current];
    if (window === null || drawn === null) return;
    let wrong = false;
    for (const [index, row] of [...drawn.children].entries()) wrong = heights.measure(first + index, row.getBoundingClientRect().height) || wrong;
    const stays = anchor.current === "end" ? heights.total - window.clientHeight : heights.topOf(anchor.current.line) + anchor.current.above;
    if (Math.abs(window.scrollTop - stays) >= 1) window.scrollTop = stays;
    if (wrong) setCorrections((count) => count + 1);
  }, [heights, first, last, corrections]);

  function scrolled({ scrollTop, scrollHeight, clientHeight }: HTMLElement): void {
    const line = heights.lineAt(scrollTop);
    const atEnd = scrollTop > 0 && scrollTop + clientHeight >= scrollHeight - 1;
    anchor.current = atEnd ? "end" : { line, above: scrollTop - heights.topOf(line) };
    setTop(scrollTop);
  }

  return (
    <div ref={scroller} className={styles.scroll} onScroll={(event) => scrolled(event.currentTarget)} tabIndex={0} role="region" aria-label="The text at this moment" data-testid="document" data-kind="text" data-lines={lines.length}>
      <div className={styles.sheet} style={{ height: heights.total }}>
        <pre ref={shown} className={styles.lines} style={{ top: heights.topOf(first) }} data-testid="text">
          {lines.slice(first, last).map((line, index) => (
            <Row key={first + index} number={first + index + 1} line={line} palette={palette} />
          ))}
        </pre>
      </div>
    </div>
  );
}

/** How high the window is, and how many columns of the script a row has. */
function useSize(scroller: RefObject<HTMLDivElement | null>, shown: RefObject<HTMLPreElement | null>): { columns: number; height: number } {
  const [size, setSize] = useState({ columns: 80, height: 800 });
  useEffect(() => {
    const [window, lines] = [scroller.current, shown.current];
    if (window === null || lines === null) return;
    const ruler = document.createElement("canvas").getContext("2d");
    const observer = new ResizeObserver(() => {
      const { font, paddingLeft, paddingRight } = getComputedStyle(lines);
      if (ruler !== null) ruler.font = font;
      const letter = ruler?.measureText("0").width ?? LINE_HEIGHT / 3;
      const width = lines.clientWidth - parseFloat(paddingLeft) - parseFloat(paddingRight);
      setSize({ columns: Math.max(1, Math.floor(width / letter)), height: window.clientHeight });
    });
    observer.observe(window);
    return () => observer.disconnect();
  }, [scroller, shown]);
  return size;
}

function lengthOf(line: Line): number {
  return line.reduce((length, { text }) => length + Math.min(text.length, PIECE_MAX), 0);
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
