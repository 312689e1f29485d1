/**
 * The room's whole life as a slider: how much was written when and by whom, what happened beside
 * edits, and a handle. The histogram is a canvas, the handle moves by transform alone.
 */

import { useEffect, useLayoutEffect, useMemo, useRef, useState, type PointerEvent } from "react";
import { Icon, type IconName } from "../../design/Icon";
import { clockText, dayText, lengthText } from "../../past/moment";
import type { Mark, Scale, Share } from "../../past/timeline";
import { colourVariable, type Palette } from "./authors";
import { markName } from "./marks";
import styles from "./Scrubber.module.css";

export interface ScrubberProps {
  readonly scale: Scale;
  readonly palette: Palette;
  readonly wanted: number;
  readonly wantedText: string;
  readonly fetching: boolean;
  readonly onGoTo: (seq: number) => void;
}

/** A bar is at least this wide, with the gap to the next. */
const BAR_PX = 4;
const BAR_MAX_PX = 16;
const BAR_MIN_PX = 3;
/** More events than this are told by the list alone. */
const FLAGS_MAX = 60;
const FLAG_ICONS: Readonly<Record<string, IconName>> = { created: "plus", restored: "undo", forked: "fork", titled: "pen", deleted: "close" };

export function Scrubber({ scale, palette, wanted, wantedText, fetching, onGoTo }: ScrubberProps) {
  const track = useRef<HTMLDivElement>(null);
  const canvas = useRef<HTMLCanvasElement>(null);
  const bubble = useRef<HTMLDivElement>(null);
  const [width, setWidth] = useState(0);
  const [dragging, setDragging] = useState(false);
  const { timeline } = scale;
  const place = scale.placeOf(wanted);
  const flags = useMemo(() => timeline.marks.filter(({ kind }) => kind !== "snapshot").slice(-FLAGS_MAX), [timeline.marks]);

  useLayoutEffect(() => {
    const element = track.current;
    if (element === null) return;
    const measure = (): void => setWidth(element.clientWidth);
    measure();
    const resizes = new ResizeObserver(measure);
    resizes.observe(element);
    return () => resizes.disconnect();
  }, []);

  useEffect(() => {
    const draw = (): void => {
      if (canvas.current !== null && width > 0) paint(canvas.current, width, scale, palette);
    };
    draw();
    const dark = matchMedia("(prefers-color-scheme: dark)");
    const later = (): void => void requestAnimationFrame(draw);
    dark.addEventListener("change", later);
    return () => dark.removeEventListener("change", later);
  }, [scale, palette, width]);

  function placeUnder(event: PointerEvent): number {
    const box = track.current?.getBoundingClientRect();
    return box === undefined ? 0 : Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
  }

  function hover(event: PointerEvent): void {
    const element = bubble.current;
    if (element === null || width === 0) return;
    const at = placeUnder(event);
    element.textContent = clockText(scale.timeAt(at), timeline.toMs - timeline.fromMs < 60_000);
    const half = element.offsetWidth / 2;
    element.style.transform = `translateX(${Math.min(width - half, Math.max(half, at * width)) - half}px)`;
  }

  function press(event: PointerEvent): void {
    if (event.button !== 0) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    setDragging(true);
    onGoTo(scale.seqAt(placeUnder(event)));
  }

  function drag(event: PointerEvent): void {
    hover(event);
    if (dragging) onGoTo(scale.seqAt(placeUnder(event)));
  }

  const passed = timeline.toMs - timeline.fromMs;
  return (
    <div className={styles.scrubber} data-dragging={dragging} data-testid="scrubber">
      <div
        className={styles.slider}
        role="slider"
        tabIndex={0}
        aria-label="Moment"
        aria-valuemin={timeline.from}
        aria-valuemax={timeline.to}
        aria-valuenow={wanted}
        aria-valuetext={wantedText}
        aria-busy={fetching}
        onPointerDown={press}
        onPointerMove={drag}
        onPointerUp={() => setDragging(false)}
        onPointerCancel={() => setDragging(false)}
        data-testid="slider"
      >
        <div ref={track} className={styles.track}>
          <canvas ref={canvas} className={styles.canvas} aria-hidden="true" data-testid="histogram" />
          <div className={styles.ahead} style={{ transform: `scaleX(${1 - place})` }} />
          <div className={styles.handle} style={{ transform: `translateX(${place * width}px)` }}>
            <div className={styles.grip} />
          </div>
          <div ref={bubble} className={styles.bubble} aria-hidden="true" />
        </div>
        <div className={styles.busy} data-busy={fetching} />
      </div>
      <div className={styles.flags}>
        {flags.map((mark) => (
          <Flag key={`${mark.seq} ${mark.kind}`} mark={mark} place={scale.placeOf(mark.seq)} onGoTo={onGoTo} />
        ))}
      </div>
      <div className={styles.ends} aria-hidden="true">
        <time>{endText(timeline.fromMs, passed)}</time>
        <span>{timeline.records === 0 ? "" : `${timeline.records.toLocaleString()} ${timeline.records === 1 ? "record" : "records"} in ${lengthText(passed)}`}</span>
        <time>{endText(timeline.toMs, passed)}</time>
      </div>
    </div>
  );
}

/** For the eye and the mouse; keyboards and screen readers have the list of events. */
function Flag({ mark, place, onGoTo }: { mark: Mark; place: number; onGoTo: (seq: number) => void }) {
  const name = `${markName(mark)}, ${dayText(mark.atMs)} ${clockText(mark.atMs, false)}`;
  return (
    <button type="button" tabIndex={-1} className={styles.flag} data-kind={mark.kind} style={{ left: `${place * 100}%` }} title={name} aria-hidden="true" onClick={() => onGoTo(mark.seq)}>
      <Icon name={FLAG_ICONS[mark.kind] ?? "arrow"} />
    </button>
  );
}

function endText(ms: number, passedMs: number): string {
  return passedMs > 20 * 3_600_000 ? `${dayText(ms)} ${clockText(ms, false).slice(0, 5)}` : clockText(ms, false);
}

function paint(canvas: HTMLCanvasElement, width: number, scale: Scale, palette: Palette): void {
  const height = canvas.clientHeight;
  const ratio = devicePixelRatio;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  const ctx = canvas.getContext("2d");
  if (ctx === null) return;
  ctx.scale(ratio, ratio);
  const style = getComputedStyle(canvas);
  const colours = new Map<string, string>();
  const colourOf = (author: string | null): string => {
    const variable = colourVariable(palette, author);
    const known = colours.get(variable) ?? style.getPropertyValue(variable).trim();
    colours.set(variable, known);
    return known;
  };
  const bars = barsOf(scale, width);
  const most = bars.reduce((max, { records }) => Math.max(max, records), 1);
  const room = height - 8;
  for (const { left, right, records, shares } of bars) {
    // The root keeps quiet stretches in sight beside busy ones.
    const tall = Math.max(BAR_MIN_PX, room * Math.sqrt(records / most));
    let bottom = height - 3;
    for (const { author, records: part } of shares) {
      const tallPart = (tall * part) / records;
      ctx.fillStyle = colourOf(author);
      ctx.fillRect(left, bottom - tallPart, Math.min(BAR_MAX_PX, Math.max(1, right - left - 1)), tallPart);
      bottom -= tallPart;
    }
  }
  ctx.fillStyle = style.getPropertyValue("--line-strong");
  ctx.fillRect(0, height - 2, width, 1);
  // Where idle time is folded away.
  for (const [i, { left, right }] of scale.columns.entries()) {
    if (right !== left || scale.columns[i - 1]?.left === left) continue;
    for (let y = 4; y < height - 4; y += 6) ctx.fillRect(left * width - 0.5, y, 1, 3);
  }
  ctx.fillStyle = style.getPropertyValue("--accent");
  for (const { seq, kind } of scale.timeline.marks) {
    if (kind !== "snapshot") continue;
    const x = scale.placeOf(seq) * width;
    ctx.beginPath();
    ctx.moveTo(x, height - 6);
    ctx.lineTo(x + 3, height - 2);
    ctx.lineTo(x, height + 2);
    ctx.lineTo(x - 3, height - 2);
    ctx.fill();
  }
}

interface Bar {
  readonly left: number;
  right: number;
  records: number;
  readonly shares: Share[];
}

/** Buckets that share a bar's width are one bar. */
function barsOf(scale: Scale, width: number): Bar[] {
  const bars: Bar[] = [];
  let bar: Bar | null = null;
  for (const { bucket, left, right } of scale.columns) {
    const from = Math.round(left * width);
    if (bar === null || from - bar.left >= BAR_PX) bars.push((bar = { left: from, right: from, records: 0, shares: [] }));
    bar.right = Math.max(bar.left + 2, Math.round(right * width));
    bar.records += bucket.records;
    for (const share of bucket.authors) {
      const at = bar.shares.findIndex(({ author }) => author === share.author);
      const known = bar.shares[at];
      if (known === undefined) bar.shares.push(share);
      else bar.shares[at] = { ...known, records: known.records + share.records };
    }
  }
  return bars.filter(({ records }) => records > 0);
}
