import { useCallback, useEffect, useMemo, useRef, useState } from "react";
import { Link } from "wouter";
import * as Y from "yjs";
import { Later } from "../../access/Later";
import { ShareDialog } from "../../access/ShareDialog";
import { Button, IconButton } from "../../design/Button";
import { Icon } from "../../design/Icon";
import { Mark } from "../../design/Mark";
import { ERASER_RADIUS_PX, Hand } from "../../ink/hand";
import { INKS } from "../../ink/inks";
import { Pen } from "../../ink/pen";
import { Stage, type StageView } from "../../ink/stage";
import { eraseStrokes, strokesOf } from "../../ink/strokes";
import { loadIdentity, renamed } from "../../room/identity";
import { OwnPresence } from "../../room/presence";
import { replayPath } from "../../room/replay-path";
import type { RoomSession } from "../../room/session";
import { mayWrite, type Role } from "../../room/slug";
import { useRoomView } from "../../room/use-room";
import { Badge } from "./Badge";
import styles from "./Board.module.css";
import { Cursors } from "./cursors";
import { HelpDialog } from "./HelpDialog";
import { People, usePeers } from "./People";
import { commandOf, typesInto } from "./shortcuts";
import { showHandle } from "./test-handle";
import { Toolbar } from "./Toolbar";
import { loadTools, nextWidth, saveTools, type Tools } from "./tools";

/** Local edits carry this origin: they, and only they, can be undone here. */
const OWN = "own hand";
/** Chunks of one stroke are one step to undo; steps end where the hand lifts, never by time. */
const ONE_STEP_MS = 24 * 3_600_000;
const ZOOM_STEP = 1.25;

/** What is mounted on the canvas for as long as the page shows it. */
interface Mounted {
  readonly stage: Stage;
  readonly hand: Hand;
  readonly pen: Pen;
  readonly presence: OwnPresence;
}

export function Board({ session, slug, role: asked }: { session: RoomSession; slug: string; role: Role }) {
  const view = useRoomView(session);
  const role = view.mayWrite ? asked : "viewer";
  const draws = mayWrite(role);
  const peers = usePeers(session.awareness);
  const [me, setMe] = useState(loadIdentity);
  const [tools, setTools] = useState(loadTools);
  const [stageView, setStageView] = useState<StageView>({ zoom: 1, strokes: 0, following: !draws });
  const [dialog, setDialog] = useState<"share" | "help" | null>(null);
  const mounted = useRef<Mounted | null>(null);
  const toolsNow = useRef(tools);
  const history = useHistory(session.doc);
  const { undoManager } = history;

  const host = useRef<HTMLDivElement>(null);
  const lower = useRef<HTMLCanvasElement>(null);
  const upper = useRef<HTMLCanvasElement>(null);
  const cursorLayer = useRef<HTMLDivElement>(null);

  useEffect(() => {
    if (host.current === null || lower.current === null || upper.current === null || cursorLayer.current === null) return;
    const { doc, awareness } = session;
    const identity = loadIdentity();
    const cursors = new Cursors(cursorLayer.current, awareness);
    const stage = new Stage({
      host: host.current,
      lower: lower.current,
      upper: upper.current,
      doc,
      following: !draws,
      insets: () => (window.innerWidth <= 720 ? { top: 112, bottom: draws ? 120 : 72, side: 16 } : { top: 84, bottom: 92, side: 40 }),
      onView: setStageView,
      onCamera: (camera) => cursors.look(camera),
    });
    const presence = new OwnPresence(awareness, identity, draws ? "creator" : "viewer");
    const pen = new Pen(doc, OWN, identity.id, (wet) => stage.setWet(wet));
    const hand = new Hand(host.current, stage, {
      mayDraw: draws,
      erasing: () => toolsNow.current.tool === "eraser",
      drawBegin: (point, pressure) => {
        undoManager.stopCapturing();
        const { ink, width } = toolsNow.current;
        pen.begin({ ink, width }, point, pressure);
      },
      drawMove: (points) => pen.add(points, 0.75 / stage.zoom),
      drawEnd: () => pen.finish(),
      drawCancel: () => pen.cancel(),
      eraseBegin: () => undoManager.stopCapturing(),
      eraseMove: (from, to) => {
        const under = stage.picture.under(from, to, ERASER_RADIUS_PX / stage.zoom);
        if (under.size > 0) eraseStrokes(doc, under, OWN);
      },
      eraseEnd: () => undoManager.stopCapturing(),
      pointAt: (cursor, drawing) => {
        if (draws) presence.move({ cursor: cursor === null ? null : rounded(cursor), drawing });
      },
    });
    // The page was opened to draw or to look: its keys should work without a click.
    if (document.activeElement === null || document.activeElement === document.body) {
      // Nobody asked for it, so it shows no ring until a key is used.
      host.current.dataset["quiet"] = "";
      host.current.focus({ preventScroll: true });
    }
    const hideHandle = showHandle(session, () => stage.picture.count);
    mounted.current = { stage, hand, pen, presence };
    return () => {
      mounted.current = null;
      hideHandle();
      hand.close();
      pen.finish();
      presence.close();
      cursors.close();
      stage.close();
    };
  }, [session, draws, undoManager]);

  useEffect(() => {
    if (view.loaded) mounted.current?.stage.arrive();
  }, [view.loaded]);

  const changeTools = useCallback((change: Partial<Tools>) => {
    const next = { ...toolsNow.current, ...change };
    toolsNow.current = next;
    saveTools(next);
    setTools(next);
    mounted.current?.hand.toolChanged();
  }, []);

  const undo = useCallback(() => {
    mounted.current?.pen.finish();
    undoManager.undo();
  }, [undoManager]);
  const redo = useCallback(() => {
    mounted.current?.pen.finish();
    undoManager.redo();
  }, [undoManager]);

  useEffect(() => {
    const keyDown = (event: KeyboardEvent): void => {
      const { stage, hand } = mounted.current ?? {};
      if (stage === undefined || hand === undefined || dialog !== null || isText(event.target)) return;
      if (event.key === " " && (event.target === host.current || event.target === document.body)) {
        event.preventDefault();
        return hand.holdSpace(true);
      }
      if (event.key === "Escape") return hand.abandon();
      const command = commandOf(event);
      if (command === null) return;
      // Arrow keys walk through a focused radio group; only the canvas gives them to the paper.
      if (command.do === "pan" && typesInto(event.target)) return;
      const { tool, width } = toolsNow.current;
      const drawing = command.do !== "pan" && draws;
      switch (command.do) {
        case "pan": stage.pan(command.dx, command.dy); break;
        case "fit": stage.fit(); break;
        case "zoomIn": stage.zoomBy(ZOOM_STEP); break;
        case "zoomOut": stage.zoomBy(1 / ZOOM_STEP); break;
        case "zoomReset": stage.resetZoom(); break;
        case "share": setDialog("share"); break;
        case "help": setDialog("help"); break;
        case "ink": {
          const ink = INKS[command.place];
          if (drawing && ink !== undefined) changeTools({ ink, tool: "pen" });
          break;
        }
        case "pen":
        case "eraser": if (drawing && tool !== command.do) changeTools({ tool: command.do }); break;
        case "thinner": if (drawing) changeTools({ width: nextWidth(width, -1) }); break;
        case "thicker": if (drawing) changeTools({ width: nextWidth(width, 1) }); break;
        case "undo": if (drawing) undo(); break;
        case "redo": if (drawing) redo(); break;
      }
      event.preventDefault();
    };
    const keyUp = (event: KeyboardEvent): void => {
      if (event.key === " ") mounted.current?.hand.holdSpace(false);
    };
    window.addEventListener("keydown", keyDown);
    window.addEventListener("keyup", keyUp);
    return () => {
      window.removeEventListener("keydown", keyDown);
      window.removeEventListener("keyup", keyUp);
    };
  }, [dialog, draws, changeTools, undo, redo]);

  function rename(name: string): void {
    const next = renamed(me, name);
    setMe(next);
    mounted.current?.presence.rename(next);
  }

  const stage = (): Stage | undefined => mounted.current?.stage;
  const empty = view.loaded && stageView.strokes === 0;
  return (
    <main className={styles.board} data-testid="pit" data-role={role} data-loaded={view.loaded} data-strokes={stageView.strokes}>
      <h1 className={styles.spoken}>Pit {slug}</h1>
      <div ref={host} className={styles.paper} onBlur={(event) => delete event.currentTarget.dataset["quiet"]} tabIndex={0} role="group" aria-label={`Canvas with ${stageView.strokes} strokes. Arrow keys move the paper, plus and minus zoom.`} data-testid="stage">
        <canvas ref={lower} className={styles.canvas} data-testid="canvas" />
        <canvas ref={upper} className={styles.canvasAbove} data-testid="canvas-live" />
      </div>
      {empty ? <EmptyHint draws={draws} /> : null}
      <div ref={cursorLayer} className={styles.cursors} data-testid="cursors" aria-hidden="true" />

      <header className={styles.top}>
        <div className={styles.bar} data-testid="role" data-role={role}>
          <Link href="/" className={styles.home} aria-label="The Well, start page">
            <Mark size={24} />
          </Link>
          <span className={styles.slug} data-testid="slug">
            {slug}
          </span>
          <Link href={replayPath("pit", slug, role)} className={styles.history} aria-label="History" title="History: how it came to be" data-testid="history">
            <Icon name="history" />
          </Link>
          {draws ? null : (
            <span className={styles.role}>
              <Icon name="eye" /> Watching
            </span>
          )}
        </div>
        <div className={styles.status}>
          <Badge view={view} />
        </div>
        <div className={styles.bar}>
          <People peers={peers} me={me} role={draws ? "creator" : "viewer"} deed="drawing" onRename={rename} />
          <Button kind="primary" className={styles.share} onClick={() => setDialog("share")} aria-label="Share" aria-keyshortcuts="S" title="Share (S)" data-testid="share">
            <Icon name="share" />
            <span>Share</span>
          </Button>
        </div>
      </header>
      <div className={styles.later}>
        <Later connection={view.connection} />
      </div>

      <footer className={styles.bottom}>
        {draws ? <Toolbar tools={tools} canUndo={history.canUndo} canRedo={history.canRedo} onTools={changeTools} onUndo={undo} onRedo={redo} /> : null}
        <div className={styles.zoom} data-role={role}>
          <IconButton icon="minus" label="Zoom out" shortcut="-" data-testid="zoom-out" onClick={() => stage()?.zoomBy(1 / ZOOM_STEP)} />
          <button type="button" className={styles.percent} onClick={() => stage()?.resetZoom()} title="Natural size (0)" aria-label={`Zoom ${percent(stageView.zoom)}, back to natural size`}>
            {percent(stageView.zoom)}
          </button>
          <IconButton icon="plus" label="Zoom in" shortcut="+" data-testid="zoom-in" onClick={() => stage()?.zoomBy(ZOOM_STEP)} />
          {draws ? (
            <IconButton icon="fit" label="Fit everything" shortcut="F" onClick={() => stage()?.fit()} data-testid="fit" />
          ) : (
            <Button className={styles.follow} aria-label={stageView.following ? "Following" : "Follow"} aria-pressed={stageView.following} onClick={() => stage()?.setFollowing(!stageView.following)} title="Keep the whole drawing in sight" data-testid="follow">
              <Icon name={stageView.following ? "check" : "fit"} />
              {stageView.following ? "Following" : "Follow"}
            </Button>
          )}
          <IconButton icon="help" label="Keys" shortcut="?" onClick={() => setDialog("help")} data-testid="help-open" />
        </div>
      </footer>

      {dialog === "share" ? <ShareDialog room={{ space: "pit", name: slug }} thing="pit" role={role} onClose={() => setDialog(null)} /> : null}
      {dialog === "help" ? <HelpDialog draws={draws} onClose={() => setDialog(null)} /> : null}
    </main>
  );
}

function EmptyHint({ draws }: { draws: boolean }) {
  return (
    <p className={styles.empty} data-testid="empty">
      {draws ? "Draw anywhere." : "Nothing is drawn yet. It will appear here as it happens."}
    </p>
  );
}

/** Undo and redo of what this page did, and nobody else. */
function useHistory(doc: Y.Doc): { undoManager: Y.UndoManager; canUndo: boolean; canRedo: boolean } {
  const undoManager = useMemo(() => new Y.UndoManager(strokesOf(doc), { trackedOrigins: new Set([OWN]), captureTimeout: ONE_STEP_MS }), [doc]);
  const [can, setCan] = useState({ canUndo: false, canRedo: false });
  useEffect(() => {
    const refresh = (): void => setCan({ canUndo: undoManager.canUndo(), canRedo: undoManager.canRedo() });
    for (const event of ["stack-item-added", "stack-item-popped", "stack-cleared"] as const) undoManager.on(event, refresh);
    return () => {
      for (const event of ["stack-item-added", "stack-item-popped", "stack-cleared"] as const) undoManager.off(event, refresh);
    };
  }, [undoManager]);
  return { undoManager, ...can };
}

function isText(target: EventTarget | null): boolean {
  return typesInto(target) && !(target instanceof HTMLInputElement && target.type === "radio");
}

function rounded({ x, y }: { x: number; y: number }): { x: number; y: number } {
  return { x: Math.round(x * 10) / 10, y: Math.round(y * 10) / 10 };
}

function percent(zoom: number): string {
  return `${Math.round(zoom * 100)}%`;
}
