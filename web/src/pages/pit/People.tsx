import { useEffect, useId, useRef, useState, type SubmitEvent } from "react";
import type { Awareness } from "y-protocols/awareness";
import { Button } from "../../design/Button";
import { NAME_MAX_CHARS, readableOn, type Identity } from "../../room/identity";
import { peersOf, type Peer, type PresenceRole } from "../../room/presence";
import styles from "./People.module.css";

/** How many faces there is room for: on a desk, on a phone, on a small one. */
const FACES_MAX = { wide: 4, phone: 2, small: 1 } as const;

export interface PeopleProps {
  /** Everyone else. */
  readonly peers: readonly Peer[];
  readonly me: Identity;
  readonly role: PresenceRole;
  /** What those do who do not only watch. */
  readonly deed: "drawing" | "writing";
  readonly onRename: (name: string) => void;
}

/** Who is here: those who draw or write by their initials, those who watch as a number. Opens our own name. */
export function People({ peers, me, role, deed, onRename }: PeopleProps) {
  const [open, setOpen] = useState(false);
  const root = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const drawing = peers.filter((peer) => peer.role === "creator");
  const watching = peers.length - drawing.length + (role === "viewer" ? 1 : 0);
  const faces = [...(role === "creator" ? [{ key: "me", name: me.name, color: me.color }] : []), ...drawing.map(({ client, name, color }) => ({ key: String(client), name, color }))];

  useEffect(() => {
    if (!open) return;
    const outside = (event: PointerEvent): void => {
      if (event.target instanceof Node && root.current?.contains(event.target) !== true) setOpen(false);
    };
    window.addEventListener("pointerdown", outside);
    return () => window.removeEventListener("pointerdown", outside);
  }, [open]);

  function close(): void {
    setOpen(false);
    button.current?.focus();
  }

  return (
    <div
      ref={root}
      className={styles.people}
      onKeyDown={(event) => {
        if (event.key === "Escape" && open) close();
      }}
    >
      <button
        ref={button}
        type="button"
        className={styles.faces}
        aria-expanded={open}
        title="Who is here"
        onClick={() => setOpen(!open)}
        data-testid="people"
        data-drawing={faces.length}
        data-watching={watching}
      >
        {faces.slice(0, FACES_MAX.wide).map(({ key, name, color }) => (
          <Face key={key} name={name} color={color} />
        ))}
        {Object.entries(FACES_MAX).map(([room, most]) =>
          faces.length > most ? (
            <span key={room} className={styles.more} data-room={room} aria-hidden="true">
              +{faces.length - most}
            </span>
          ) : null,
        )}
        {watching > 0 ? (
          <span className={styles.more} data-room="wide" aria-hidden="true">
            {watching} watching
          </span>
        ) : null}
        {/* Initials are no words: what is seen is not what is said. */}
        <span className={styles.spoken}>{`${faces.length} ${deed}, ${watching} watching`}</span>
      </button>
      {open ? (
        <div className={styles.panel} data-testid="people-panel">
          {role === "creator" ? <NameForm name={me.name} onRename={onRename} onDone={close} /> : null}
          <ul className={styles.list}>
            {role === "creator" ? (
              <li>
                <Face name={me.name} color={me.color} />
                <span>{me.name}</span>
                <span className={styles.active}>you</span>
              </li>
            ) : null}
            {drawing.map((peer) => (
              <PeerRow key={peer.client} peer={peer} />
            ))}
          </ul>
          <p className={styles.watching}>
            {peers.length === 0 ? "Nobody else is here yet." : `${faces.length} ${deed}, ${watching} watching.`}
          </p>
        </div>
      ) : null}
    </div>
  );
}

function NameForm({ name, onRename, onDone }: { name: string; onRename: (name: string) => void; onDone: () => void }) {
  const [text, setText] = useState(name);
  const field = useId();
  function submit(event: SubmitEvent): void {
    event.preventDefault();
    onRename(text);
    onDone();
  }
  return (
    <form className={styles.form} onSubmit={submit}>
      <label htmlFor={field}>Your name, as others see it</label>
      <div className={styles.row}>
        <input id={field} autoFocus value={text} maxLength={NAME_MAX_CHARS} onChange={(event) => setText(event.target.value)} autoComplete="nickname" data-testid="name" />
        <Button type="submit">Keep</Button>
      </div>
    </form>
  );
}

function PeerRow({ peer: { name, color, drawing } }: { peer: Peer }) {
  return (
    <li>
      <Face name={name} color={color} />
      <span>{name}</span>
      {drawing ? <span className={styles.active}>drawing</span> : null}
    </li>
  );
}

function Face({ name, color }: { name: string; color: string }) {
  const initials = name.split(" ").map((word) => Array.from(word)[0] ?? "").join("").slice(0, 2).toUpperCase();
  return (
    <span className={styles.face} style={{ backgroundColor: color, color: readableOn(color) }} aria-hidden="true">
      {initials}
    </span>
  );
}

/** Presence changes many times a second while people draw; faces need not. */
export function usePeers(awareness: Awareness): readonly Peer[] {
  const [peers, setPeers] = useState<readonly Peer[]>([]);
  useEffect(() => {
    let seen = "";
    const refresh = (): void => {
      const now = peersOf(awareness);
      const look = now.map(({ client, name, color, role, drawing }) => `${client}${name}${color}${role}${drawing}`).join("\n");
      if (look === seen) return;
      seen = look;
      setPeers(now);
    };
    refresh();
    awareness.on("change", refresh);
    return () => awareness.off("change", refresh);
  }, [awareness]);
  return peers;
}
