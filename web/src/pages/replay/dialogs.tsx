import { useState } from "react";
import { forkRoom, PastError, pastUrlWithToken, restoreRoom } from "../../api/past";
import { UNREACHABLE, type Problem } from "../../api/problem";
import { Button } from "../../design/Button";
import { Dialog } from "../../design/Dialog";
import { Icon } from "../../design/Icon";
import { clockText, dayText } from "../../past/moment";
import type { Replay, ReplayView } from "../../past/replay";
import { isCut, type Timeline } from "../../past/timeline";
import { contentKind } from "../../past/content";
import type { Palette } from "./authors";
import styles from "./dialogs.module.css";
import { pitAsPng, pitAsSvg, saveBlob } from "./export";
import { Legend } from "./Legend";
import { markName } from "./marks";
import { SHORTCUTS } from "./shortcuts";

interface DialogProps {
  readonly replay: Replay;
  readonly view: ReplayView;
  readonly onClose: () => void;
}

/** Nothing of the past is lost by going back to it, and the dialog says so. */
export function RestoreDialog({ replay, view, onClose }: DialogProps) {
  const { seq, head, text } = useMoment(view);
  const { running, problem, run } = useDeed(async () => {
    await restoreRoom(replay.room, seq);
    replay.goToEnd();
    onClose();
  });
  return (
    <Dialog title="Restore this moment?" onClose={onClose} testid="restore-dialog">
      <p>
        Everyone in the room will see it as it was at <strong>{text}</strong>.
      </p>
      <p className={styles.soft}>
        This is a new edit at the end of the history. Nothing is erased: the {(head - seq).toLocaleString()} records since then stay where they are, and you can come back to any of them.
      </p>
      <Trouble problem={problem} />
      <div className={styles.actions}>
        <Button onClick={onClose}>Cancel</Button>
        <Button kind="primary" onClick={run} disabled={running} data-testid="restore-confirm">
          {running ? "Restoring…" : "Restore"}
        </Button>
      </div>
    </Dialog>
  );
}

export function ForkDialog({ replay, view, onClose, onForked }: DialogProps & { onForked: (url: string) => void }) {
  const { seq, text } = useMoment(view);
  const { running, problem, run } = useDeed(async () => onForked((await forkRoom(replay.room, seq)).url));
  return (
    <Dialog title="Fork from this moment?" onClose={onClose} testid="fork-dialog">
      <p>
        A new room begins as this one was at <strong>{text}</strong>, and opens here.
      </p>
      <p className={styles.soft}>This room stays as it is. The new one remembers where it came from.</p>
      <Trouble problem={problem} />
      <div className={styles.actions}>
        <Button onClick={onClose}>Cancel</Button>
        <Button kind="primary" onClick={run} disabled={running} data-testid="fork-confirm">
          {running ? "Forking…" : "Fork"}
        </Button>
      </div>
    </Dialog>
  );
}

export function ExportDialog({ replay, view, onClose }: DialogProps) {
  const { seq, text } = useMoment(view);
  const { room } = replay;
  const { doc, timeline } = view;
  const drawn = doc !== null && (room.space === "pit" || contentKind(doc) === "strokes");
  const name = `${room.name.replace(/[^\w.-]+/g, "_")}-${seq}`;
  return (
    <Dialog title="Export" onClose={onClose} testid="export-dialog">
      <ul className={styles.files}>
        {drawn ? (
          <>
            <li>
              <button type="button" onClick={() => void pitAsPng(doc).then((blob) => (blob === null ? undefined : saveBlob(blob, `${name}.png`)))} data-testid="export-png">
                <Icon name="download" />
                <span>
                  Picture <small>PNG, at {text}</small>
                </span>
              </button>
            </li>
            <li>
              <button type="button" onClick={() => saveBlob(pitAsSvg(doc), `${name}.svg`)} data-testid="export-svg">
                <Icon name="download" />
                <span>
                  Drawing <small>SVG, at {text}</small>
                </span>
              </button>
            </li>
          </>
        ) : null}
        {timeline?.kind === "yjs" ? (
          <li>
            <a href={pastUrlWithToken(room, "state", { seq })} download={`${name}.yjs`} data-testid="export-yjs">
              <Icon name="download" />
              <span>
                Document <small>Yjs update, at {text}</small>
              </span>
            </a>
          </li>
        ) : null}
        <li>
          <a href={pastUrlWithToken(room, "records", { to: seq })} download={`${name}.jsonl`} data-testid="export-records">
            <Icon name="download" />
            <span>
              Records up to here <small>JSON lines</small>
            </span>
          </a>
        </li>
        <li>
          <a href={pastUrlWithToken(room, "records")} download={`${name.replace(/-\d+$/, "")}.jsonl`} data-testid="export-all">
            <Icon name="download" />
            <span>
              The whole history <small>JSON lines</small>
            </span>
          </a>
        </li>
      </ul>
    </Dialog>
  );
}

const EVENTS_MAX = 300;

interface EventsProps {
  readonly timeline: Timeline;
  readonly palette: Palette;
  readonly onGoTo: (seq: number) => void;
  readonly onKeys: () => void;
  readonly onClose: () => void;
}

/** What happened beside edits, and who wrote; from here also to what has no place on a small screen. */
export function EventsDialog({ timeline, palette, onGoTo, onKeys, onClose }: EventsProps) {
  const [withSnapshots, setWithSnapshots] = useState(false);
  const marks = timeline.marks.filter(({ kind }) => withSnapshots || kind !== "snapshot").slice(-EVENTS_MAX).reverse();
  const snapshots = timeline.marks.filter(({ kind }) => kind === "snapshot").length;
  return (
    <Dialog title="Events and authors" onClose={onClose} testid="events">
      <Legend timeline={timeline} palette={palette} />
      {snapshots > 0 ? (
        <label className={styles.check}>
          <input type="checkbox" checked={withSnapshots} onChange={(event) => setWithSnapshots(event.target.checked)} />
          Show {snapshots} {snapshots === 1 ? "snapshot" : "snapshots"}
        </label>
      ) : null}
      {marks.length === 0 ? <p className={styles.soft}>Nothing but edits so far.</p> : null}
      <ul className={styles.files}>
        {marks.map((mark) => (
          <li key={`${mark.seq} ${mark.kind}`}>
            <button
              type="button"
              data-seq={mark.seq}
              onClick={() => {
                onGoTo(mark.seq);
                onClose();
              }}
            >
              <span>
                {markName(mark)}{" "}
                <small>
                  {dayText(mark.atMs)} {clockText(mark.atMs, false)} · record {mark.seq.toLocaleString()}
                </small>
              </span>
            </button>
          </li>
        ))}
      </ul>
      <div className={styles.actions}>
        <Button onClick={onKeys} data-testid="keys-open">
          <Icon name="help" /> Keys
        </Button>
      </div>
    </Dialog>
  );
}

export function KeysDialog({ onClose }: { onClose: () => void }) {
  return (
    <Dialog title="Keys" onClose={onClose} testid="help">
      <dl className={styles.keys}>
        {SHORTCUTS.map(({ keys, what }) => (
          <div key={keys}>
            <dt>{what}</dt>
            <dd>
              <kbd>{keys}</kbd>
            </dd>
          </div>
        ))}
      </dl>
    </Dialog>
  );
}

function Trouble({ problem }: { problem: Problem | null }) {
  if (problem === null) return null;
  return (
    <p role="alert" className={styles.problem} data-testid="problem">
      <strong>{problem.title}:</strong> {problem.detail}
    </p>
  );
}

/** The moment that a dialog was opened at: the handle may move on, what was asked for does not. */
function useMoment({ seq, record, timeline }: ReplayView): { seq: number; head: number; text: string } {
  const [moment] = useState({
    seq,
    head: timeline?.to ?? seq,
    text:
      record !== null ? `${dayText(record.atMs)}, ${clockText(record.atMs, false)} (record ${seq.toLocaleString()})`
      : timeline !== null && isCut(timeline) ? `where its history begins (record ${seq.toLocaleString()})`
      : "the very beginning, when it was empty",
  });
  return moment;
}

function useDeed(deed: () => Promise<void>): { running: boolean; problem: Problem | null; run: () => void } {
  const [running, setRunning] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  async function run(): Promise<void> {
    setRunning(true);
    setProblem(null);
    try {
      await deed();
    } catch (error) {
      setProblem(error instanceof PastError ? error.problem : UNREACHABLE);
      setRunning(false);
    }
  }
  return { running, problem, run: () => void run() };
}
