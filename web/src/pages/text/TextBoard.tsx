import { useEffect, useRef, useState } from "react";
import { Link } from "wouter";
import { Later } from "../../access/Later";
import { ShareDialog } from "../../access/ShareDialog";
import { Button, IconButton } from "../../design/Button";
import { Icon } from "../../design/Icon";
import { Mark } from "../../design/Mark";
import { cleanColor, cleanName, loadIdentity, renamed } from "../../room/identity";
import type { Peer } from "../../room/presence";
import { replayPath } from "../../room/replay-path";
import { TextEditor, type PlaceView } from "../../text/editor";
import type { TextSession, TextView } from "../../text/session";
import { Badge } from "../pit/Badge";
import { People } from "../pit/People";
import { Lost } from "./Lost";
import { showTextHandle } from "./test-handle";
import styles from "./TextBoard.module.css";

const NOWHERE: PlaceView = { line: 1, column: 1, selected: 0, length: 0, canUndo: false, canRedo: false };

export function TextBoard({ session, view }: { session: TextSession; view: TextView }) {
  const [me, setMe] = useState(loadIdentity);
  const [place, setPlace] = useState(NOWHERE);
  const [sharing, setSharing] = useState(false);
  const host = useRef<HTMLDivElement>(null);
  const editor = useRef<TextEditor | null>(null);
  const peers = usePeers(session, view.loaded);
  const { loaded, mayWrite } = view;

  useEffect(() => {
    const { room } = session;
    if (!loaded || room === null || host.current === null) return;
    const opened = new TextEditor({ host: host.current, room, me: loadIdentity(), mayWrite, onPlace: setPlace, onEdit: () => session.edited() });
    editor.current = opened;
    if (document.activeElement === null || document.activeElement === document.body) opened.focus();
    const hideHandle = showTextHandle(session, room);
    return () => {
      hideHandle();
      editor.current = null;
      opened.close();
    };
  }, [session, loaded, mayWrite]);

  function rename(name: string): void {
    const next = renamed(me, name);
    setMe(next);
    editor.current?.rename(next);
  }

  return (
    <main className={styles.board} data-testid="text-room" data-loaded={loaded} data-length={place.length}>
      <h1 className={styles.spoken}>Text {session.name}</h1>
      <header className={styles.top}>
        <div className={styles.bar}>
          <Link href="/" className={styles.link} aria-label="The Well, start page">
            <Mark size={24} />
          </Link>
          <span className={styles.name} data-testid="slug">
            {session.name}
          </span>
          <Link href={replayPath("text", session.name, mayWrite ? "creator" : "viewer")} className={styles.link} aria-label="History" title="History: how it came to be" data-testid="history">
            <Icon name="history" />
          </Link>
        </div>
        <div className={styles.badge}>
          <Badge view={view} />
        </div>
        <div className={styles.bar}>
          {mayWrite ? (
            <>
              <IconButton icon="undo" label="Undo" shortcut="Ctrl+Z" disabled={!place.canUndo} onClick={() => editor.current?.undo()} data-testid="undo" />
              <IconButton icon="redo" label="Redo" shortcut="Ctrl+Y" disabled={!place.canRedo} onClick={() => editor.current?.redo()} data-testid="redo" />
            </>
          ) : null}
          <People peers={peers} me={me} role={mayWrite ? "creator" : "viewer"} deed="writing" onRename={rename} />
          <Button kind="primary" className={styles.share} onClick={() => setSharing(true)} aria-label="Share" title="Share" data-testid="share">
            <Icon name="share" />
            <span>Share</span>
          </Button>
        </div>
      </header>
      {view.lost === null ? null : <Lost lost={view.lost} onPutAway={() => session.putAwayLost()} />}
      <div className={styles.paper} data-testid="editor">
        <div className={styles.later}>
          <Later connection={view.connection} />
        </div>
        {loaded ? null : <p className={styles.wait}>The text is on its way…</p>}
        <div ref={host} className={styles.host} />
      </div>
      <footer className={styles.status}>
        <span data-testid="place">
          Line {place.line}, column {place.column}
          {place.selected > 0 ? ` (${place.selected} selected)` : ""}
        </span>
        <span className={styles.length} data-testid="length">
          {place.length} {place.length === 1 ? "character" : "characters"}
        </span>
        <span className={styles.transport} data-testid="transport" data-transport={view.transport ?? "none"}>
          {view.transport === null ? "not connected" : view.transport === "webtransport" ? "WebTransport" : "WebSocket"}
        </span>
      </footer>
      {sharing ? <ShareDialog room={{ space: "text", name: session.name }} thing="text" role={mayWrite ? "creator" : "viewer"} onClose={() => setSharing(false)} /> : null}
    </main>
  );
}

/** Everyone else, as their presence says; not where they are, which moves too often. */
function usePeers(session: TextSession, loaded: boolean): readonly Peer[] {
  const [peers, setPeers] = useState<readonly Peer[]>([]);
  useEffect(() => {
    const { room } = session;
    if (!loaded || room === null) return;
    let seen = "";
    const look = (): void => {
      const now = room.cursors().map(({ site, user }): Peer => ({ client: site, name: cleanName(user.name) ?? "Someone", color: cleanColor(user.color), role: "creator", cursor: null, drawing: false }));
      const shown = JSON.stringify(now);
      if (shown === seen) return;
      seen = shown;
      setPeers(now.sort((a, b) => a.client - b.client));
    };
    look();
    return room.on("cursors", look);
  }, [session, loaded]);
  return peers;
}
