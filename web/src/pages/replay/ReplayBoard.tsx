import { useEffect, useMemo, useRef, useState, type SubmitEvent } from "react";
import { Link, useLocation } from "wouter";
import { Button, IconButton, join } from "../../design/Button";
import { copyText } from "../../design/copy-text";
import { Icon } from "../../design/Icon";
import { Mark } from "../../design/Mark";
import { clockText, dayText, fieldText, readMoment } from "../../past/moment";
import { fasterThan, slowerThan, SPEEDS } from "../../past/pace";
import type { Replay, ReplayView } from "../../past/replay";
import { isCut, Scale, type Timeline } from "../../past/timeline";
import { replayPath } from "../../room/replay-path";
import { pitPath, type Role } from "../../room/slug";
import { authorName, colourVariable, paletteOf, type Palette } from "./authors";
import { DocumentView, useContentKind } from "./DocumentView";
import { Legend } from "./Legend";
import { PitPicture } from "./PitPicture";
import { RecordsView } from "./RecordsView";
import styles from "./ReplayBoard.module.css";
import { EventsDialog, ExportDialog, ForkDialog, KeysDialog, RestoreDialog } from "./dialogs";
import { commandOf } from "./shortcuts";
import { Scrubber } from "./Scrubber";
import { TextView } from "./TextView";

type OpenDialog = "restore" | "fork" | "export" | "events" | "keys";

export interface BoardProps {
  readonly replay: Replay;
  readonly view: ReplayView;
  readonly role: Role;
  readonly mayRestore: boolean;
}

export function ReplayBoard({ replay, view, role, mayRestore }: BoardProps) {
  const { room } = replay;
  const { timeline, seq, wanted, record, playing, live } = view;
  const [dialog, setDialog] = useState<OpenDialog | null>(null);
  const [, go] = useLocation();
  const scale = useMemo(() => (timeline === null ? null : new Scale(timeline, view.skipIdle)), [timeline, view.skipIdle]);
  const palette = usePalette(view);
  const atEnd = timeline !== null && wanted >= timeline.to;
  const isPit = room.space === "pit";
  useMomentInAddress(replay, role, timeline === null ? null : atEnd ? "end" : wanted);
  useKeys(replay, dialog === null, setDialog);

  const close = (): void => setDialog(null);
  return (
    <main className={styles.page} data-testid="replay" data-seq={seq} data-wanted={wanted} data-head={timeline?.to ?? 0} data-settled={replay.settled} data-live={live} data-playing={playing}>
      <header className={styles.head}>
        <div className={styles.title}>
          <Link href="/" className={styles.home} aria-label="The Well, start page">
            <Mark size={24} />
          </Link>
          <h1 className={styles.name} title={`${room.space}/${room.name}`} data-testid="room">
            {isPit ? <Link href={pitPath(room.name, role)} title="Open the pit" data-testid="open-pit">{room.name}</Link> : `${room.space}/${room.name}`}
          </h1>
          <span className={styles.history}>
            <Icon name="history" /> <span>History</span>
          </span>
        </div>
        <div className={styles.actions}>
          {mayRestore ? <Action icon="undo" label="Restore here" short="Restore" disabled={timeline === null || atEnd} onClick={() => setDialog("restore")} testid="restore" /> : null}
          <Action icon="fork" label="Fork here" short="Fork" disabled={timeline === null} onClick={() => setDialog("fork")} testid="fork" />
          <CopyLink url={() => `${location.origin}${replayPath(room.space, room.name, role, wanted)}`} disabled={timeline === null} />
          <Action icon="download" label="Export" short="Export" disabled={timeline === null} onClick={() => setDialog("export")} testid="export" />
        </div>
      </header>

      <section className={styles.picture} aria-label="The room at this moment" aria-busy={view.fetching}>
        {timeline === null ? null : <Picture replay={replay} view={view} palette={palette} />}
        <Messages view={view} />
      </section>

      <div className={styles.dock}>
        <section className={styles.panel} aria-label="Time">
          <div className={styles.readout}>
            <div className={styles.moment} data-testid="moment">
              <strong className={styles.clock}>{record === null ? "–" : clockText(record.atMs)}</strong>
              <span className={styles.day}>{record === null ? "" : dayText(record.atMs)}</span>
            </div>
            <div className={styles.record} data-testid="record">
              <Place view={view} />
              {record === null ? null : (
                <span className={styles.author}>
                  <span className={styles.dot} style={{ backgroundColor: `var(${colourVariable(palette, record.author)})` }} />
                  <span className={styles.authorName}>{authorName(record.author)}</span>
                </span>
              )}
            </div>
            <LivePill live={live} atEnd={atEnd} onEnd={() => replay.goToEnd()} />
          </div>

          {scale === null ? (
            <div className={styles.scrubberHolder} />
          ) : (
            <Scrubber
              scale={scale}
              palette={palette}
              wanted={wanted}
              wantedText={record === null || seq !== wanted ? `record ${wanted}` : `record ${wanted}, ${dayText(record.atMs)} ${clockText(record.atMs)}`}
              fetching={view.fetching}
              onGoTo={(seq) => replay.goTo(seq)}
            />
          )}

          <div className={styles.controls}>
            <div className={styles.transport} role="group" aria-label="Playback">
              <IconButton icon="first" label="To the start" shortcut="Home" onClick={() => replay.goToStart()} data-testid="to-start" />
              <IconButton icon="back" label="One record back" shortcut="Left" onClick={() => replay.step(-1)} data-testid="step-back" />
              <IconButton icon={playing ? "pause" : "play"} label={playing ? "Pause" : "Play"} shortcut="Space" className={styles.play} onClick={() => replay.toggle()} data-testid="play" />
              <IconButton icon="forward" label="One record on" shortcut="Right" onClick={() => replay.step(1)} data-testid="step-on" />
              <IconButton icon="last" label="To the end" shortcut="End" onClick={() => replay.goToEnd()} data-testid="to-end" />
              <select className={styles.speed} aria-label="Speed" value={view.speed} onChange={(event) => replay.setSpeed(Number(event.target.value))} data-testid="speed">
                {SPEEDS.map((speed) => (
                  <option key={speed} value={speed}>
                    {speed}×
                  </option>
                ))}
              </select>
            </div>
            <div className={styles.options}>
              <label className={styles.check} title="Cut stretches in which nothing happened">
                <input type="checkbox" checked={view.skipIdle} onChange={(event) => replay.setSkipIdle(event.target.checked)} data-testid="skip-idle" />
                <span>Skip idle</span>
              </label>
              <Button className={styles.small} onClick={() => setDialog("events")} disabled={timeline === null} aria-label="Events and authors" data-testid="events-open">
                <Icon name="list" /> <span>Events</span>
              </Button>
              <Jump replay={replay} nearMs={record?.atMs ?? timeline?.toMs ?? 0} />
              <IconButton icon="help" label="Keys" shortcut="?" className={styles.help} onClick={() => setDialog("keys")} data-testid="help-open" />
            </div>
          </div>
          <Legend timeline={timeline} palette={palette} className={styles.legend} />
        </section>
      </div>

      {dialog === "restore" ? <RestoreDialog replay={replay} view={view} onClose={close} /> : null}
      {dialog === "fork" ? <ForkDialog replay={replay} view={view} onClose={close} onForked={(url) => go(url)} /> : null}
      {dialog === "export" ? <ExportDialog replay={replay} view={view} onClose={close} /> : null}
      {dialog === "events" && timeline !== null ? <EventsDialog timeline={timeline} palette={palette} onGoTo={(seq) => replay.goTo(seq)} onKeys={() => setDialog("keys")} onClose={close} /> : null}
      {dialog === "keys" ? <KeysDialog onClose={close} /> : null}
    </main>
  );
}

function Place({ view: { timeline, seq } }: { view: ReplayView }) {
  if (timeline === null) return <span>Reading the timeline…</span>;
  if (seq <= timeline.from && !isCut(timeline)) return <span>Before the first record</span>;
  return (
    <span className={styles.place}>
      <span className={styles.wide}>Record </span>
      {seq.toLocaleString()} <span className={styles.of}>of {timeline.to.toLocaleString()}</span>
    </span>
  );
}

function Picture({ replay, view, palette }: { replay: Replay; view: ReplayView; palette: Palette }) {
  const kind = useContentKind(view);
  if (view.timeline?.kind === "text") return <TextView replay={replay} view={view} palette={palette} />;
  if (view.timeline?.kind !== "yjs") return <RecordsView replay={replay} view={view} palette={palette} />;
  if (replay.room.space === "pit" || kind === "strokes") return <PitPicture replay={replay} />;
  return <DocumentView replay={replay} view={view} kind={kind} />;
}

function Messages({ view: { trouble, astray, timeline, phase, seq } }: { view: ReplayView }) {
  const text =
    trouble !== null ? `${trouble.title}. Trying again…`
    : astray !== null ? astray
    : timeline !== null && isCut(timeline) && seq <= timeline.from ? beginning(timeline)
    : null;
  return (
    <>
      {phase.at === "loading" ? <p className={styles.loading}>Reading the past…</p> : null}
      <div role="status" className={styles.messages}>
        {text === null ? null : (
          <p className={styles.message} data-bad={trouble !== null} data-testid="message">
            {text}
          </p>
        )}
      </div>
    </>
  );
}

/** What stands at the start of a room whose first records are gone. */
function beginning({ from }: Timeline): string {
  return `The history begins at record ${(from + 1).toLocaleString()}. Retention has removed what was before; this is the room after record ${from.toLocaleString()}.`;
}

function LivePill({ live, atEnd, onEnd }: { live: ReplayView["live"]; atEnd: boolean; onEnd: () => void }) {
  const text = !atEnd ? "Go live" : live === "live" ? "Live" : "Connecting…";
  return (
    <button type="button" className={styles.live} data-state={atEnd ? live : "past"} disabled={atEnd} onClick={onEnd} title={atEnd ? "New records appear as they come" : "To the end, and on with the room"} data-testid="live">
      <span className={styles.liveDot} aria-hidden="true" />
      {text}
    </button>
  );
}

function Action({ icon, label, short, onClick, disabled, testid }: { icon: Parameters<typeof Icon>[0]["name"]; label: string; short: string; onClick: () => void; disabled: boolean; testid: string }) {
  return (
    <Button className={styles.action} onClick={onClick} disabled={disabled} aria-label={label} data-testid={testid}>
      <Icon name={icon} />
      <span className={styles.long}>{label}</span>
      <span className={styles.short}>{short}</span>
    </Button>
  );
}

function CopyLink({ url, disabled }: { url: () => string; disabled: boolean }) {
  const [copied, setCopied] = useState(false);
  const copy = async (): Promise<void> => {
    setCopied(await copyText(url(), null));
    setTimeout(() => setCopied(false), 1_800);
  };
  return (
    <Button className={join(styles.action, styles.copy)} onClick={() => void copy()} disabled={disabled} aria-label={copied ? "Copied" : "Copy link to this moment"} data-testid="copy-link">
      <Icon name={copied ? "check" : "link"} />
      <span className={styles.long} aria-live="polite">{copied ? "Copied" : "Copy link"}</span>
      <span className={styles.short}>{copied ? "Copied" : "Link"}</span>
    </Button>
  );
}

function Jump({ replay, nearMs }: { replay: Replay; nearMs: number }) {
  const [text, setText] = useState("");
  const [wrong, setWrong] = useState<string | null>(null);
  const [looking, setLooking] = useState(false);
  async function jump(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    const moment = readMoment(text, nearMs);
    if (moment === null) return setWrong("Not a time: 10:45:30, 2026-11-24 10:45, RFC 3339, or a record's number.");
    setLooking(true);
    const problem = await replay.goToMoment(moment);
    setLooking(false);
    setWrong(problem === null ? null : (problem.detail ?? problem.title));
  }
  return (
    <form className={styles.jump} onSubmit={(event) => void jump(event)} noValidate>
      <input
        value={text}
        onChange={(event) => {
          setText(event.target.value);
          setWrong(null);
        }}
        placeholder={nearMs === 0 ? "Time or record" : fieldText(nearMs)}
        aria-label="Jump to a time, or to a record's number"
        aria-invalid={wrong !== null}
        autoComplete="off"
        spellCheck={false}
        data-testid="jump"
      />
      <Button type="submit" className={styles.small} disabled={looking} data-testid="jump-go">
        {looking ? "…" : "Go"}
      </Button>
      {wrong === null ? null : (
        <p role="alert" className={styles.wrong} data-testid="jump-wrong">
          {wrong}
        </p>
      )}
    </form>
  );
}

function usePalette({ timeline }: ReplayView): Palette {
  const [palette, setPalette] = useState<Palette>(new Map());
  const next = useMemo(() => (timeline === null ? palette : paletteOf(timeline, palette)), [timeline, palette]);
  if (next.size !== palette.size) setPalette(next);
  return next;
}

/** The address follows the handle, after a moment of calm: browsers count how often it changes. */
function useMomentInAddress({ room }: Replay, role: Role, at: number | "end" | null): void {
  useEffect(() => {
    if (at === null) return;
    const timer = setTimeout(() => history.replaceState(history.state, "", replayPath(room.space, room.name, role, at === "end" ? null : at)), 250);
    return () => clearTimeout(timer);
  }, [room, role, at]);
}

function useKeys(replay: Replay, listens: boolean, onDialog: (dialog: OpenDialog) => void): void {
  const open = useRef(onDialog);
  useEffect(() => {
    open.current = onDialog;
  });
  useEffect(() => {
    if (!listens) return;
    const keyDown = (event: KeyboardEvent): void => {
      const command = commandOf(event);
      if (command === null) return;
      event.preventDefault();
      const { speed, timeline } = replay.view();
      const leap = Math.max(10, Math.round((timeline?.records ?? 0) / 100));
      switch (command) {
        case "toggle": return replay.toggle();
        case "back": return replay.step(-1);
        case "on": return replay.step(1);
        case "leapBack": return replay.step(-leap);
        case "leapOn": return replay.step(leap);
        case "start": return replay.goToStart();
        case "end": return replay.goToEnd();
        case "faster": return replay.setSpeed(fasterThan(speed));
        case "slower": return replay.setSpeed(slowerThan(speed));
        case "help": return open.current("keys");
      }
    };
    window.addEventListener("keydown", keyDown);
    return () => window.removeEventListener("keydown", keyDown);
  }, [replay, listens]);
}
