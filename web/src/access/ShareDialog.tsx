/**
 * How others get in: links that carry a token of a role and for a time, made by whoever may share the
 * room, and taken back. Who may not passes on the plain link, and is told why.
 */

import { useEffect, useId, useRef, useState, type SubmitEvent } from "react";
import { tokenOf } from "../api/ask";
import type { Problem } from "../api/problem";
import { makeLink, revokeLink, roleHere } from "../api/rooms";
import { Button } from "../design/Button";
import { copyText } from "../design/copy-text";
import { Dialog } from "../design/Dialog";
import { Icon } from "../design/Icon";
import { timeLeft } from "../design/time-ago";
import { linkTo, roomName, type RoomName } from "../room/link";
import { forgetLink, madeLinks, rememberLink, type KeptLink } from "../room/made-links";
import type { Role } from "../room/slug";
import type { Thing } from "../room/refusal";
import { QrCode } from "./QrCode";
import styles from "./ShareDialog.module.css";

export interface ShareDialogProps {
  readonly room: RoomName;
  readonly thing: Extract<Thing, "pit" | "text">;
  readonly role: Role;
  readonly onClose: () => void;
}

/** Whether anyone who knows the name may write; null until the server has said. */
type Open = boolean | null;

const DEEDS = { pit: { short: "Draw", together: "Draw together", does: "Draw and erase, as you do" }, text: { short: "Write", together: "Write together", does: "Write and delete, as you do" } } as const;

/** A viewer may pass on only what it was given. */
export function ShareDialog({ room, thing, role, onClose }: ShareDialogProps) {
  const name = roomName(room);
  const open = useOpen(room, role);
  const [nowMs] = useState(() => Date.now());
  const [made, setMade] = useState(() => madeLinks(name, Date.now()));
  const [chosen, setChosen] = useState<string | null>(null);
  const [plainRole, setPlainRole] = useState<Role>("viewer");
  const [cannot, setCannot] = useState<string | null>(null);
  const writes = role !== "viewer";
  const link = made.find(({ jti }) => jti === chosen) ?? null;
  const plain = open === true || !writes || cannot !== null;
  const offered: readonly Role[] = !writes || open === false ? ["viewer"] : ["viewer", role];
  const shown = link !== null ? linkTo(room, link.role, link.token) : plain ? linkTo(room, plainRole, null) : null;
  const label = (of: Role): string => (of === "viewer" ? "Watch" : DEEDS[thing].together);
  const does = (of: Role): string => (of === "viewer" ? "See it live, change nothing" : DEEDS[thing].does);

  return (
    <Dialog title={`Share this ${thing}`} onClose={onClose} testid="share-dialog">
      <div className={styles.content}>
        <div className={styles.top} data-qr={shown !== null}>
          {shown === null ? null : <QrCode text={shown} label={`QR code: ${label(link?.role ?? plainRole)}`} />}
          <dl className={styles.code}>
            <dt>{thing === "pit" ? "Code" : "Name"}</dt>
            <dd>{room.name}</dd>
            {plain && offered.length > 1 ? (
              <>
                <dt>QR code opens to</dt>
                <dd>
                  <Roles
                    label="What the QR code opens"
                    roles={offered}
                    chosen={link === null ? plainRole : null}
                    short={DEEDS[thing].short}
                    onChoose={(of) => {
                      setChosen(null);
                      setPlainRole(of);
                    }}
                  />
                </dd>
              </>
            ) : null}
          </dl>
        </div>
        <div className={styles.links}>
          {open === true && writes ? (
            <p className={styles.note} data-testid="share-open">
              This space is open: anyone who knows the {thing === "pit" ? "code" : "name"} can {DEEDS[thing].short.toLowerCase()} here, whichever link they have.
            </p>
          ) : null}
          {cannot === null ? null : (
            <p className={styles.note} role="alert" data-testid="share-cannot">
              {cannot}
            </p>
          )}
          {plain ? offered.map((of) => <LinkField key={of} url={linkTo(room, of, null)} label={label(of)} does={does(of)} testid={`${of}-link`} />) : null}
          {link === null ? null : <LinkField key={link.jti} url={linkTo(room, link.role, link.token)} label={label(link.role)} does={`Ends ${timeLeft(link.expiresAtMs, nowMs)}`} testid="made-link" />}
          {writes && open !== null && cannot === null ? (
            <MakeLink
              room={room}
              roles={open ? ["viewer"] : ["viewer", "editor"]}
              short={DEEDS[thing].short}
              onMade={(fresh) => {
                rememberLink(fresh, Date.now());
                setMade(madeLinks(name, Date.now()));
                setChosen(fresh.jti);
              }}
              onRefused={setCannot}
            />
          ) : null}
          <MadeLinks
            room={room}
            links={made}
            chosen={chosen}
            label={label}
            onChoose={setChosen}
            onRevoked={(jti) => {
              forgetLink(jti, Date.now());
              setMade(madeLinks(name, Date.now()));
              if (chosen === jti) setChosen(null);
            }}
          />
        </div>
      </div>
    </Dialog>
  );
}

/** What somebody without any token may be here says whether the space is open. */
function useOpen(room: RoomName, role: Role): Open {
  const [open, setOpen] = useState<Open>(role === "viewer" ? false : null);
  const { space, name } = room;
  useEffect(() => {
    if (role === "viewer") return;
    let left = false;
    void roleHere({ space, name }, null).then((anyone) => {
      // A room without a record says nothing of its space; but who writes in it without a token may do so.
      const silent = anyone === "missing" || anyone === "unknown";
      if (!left) setOpen(silent ? tokenOf(space, name) === null : anyone !== "viewer");
    });
    return () => {
      left = true;
    };
  }, [space, name, role]);
  return open;
}

const TIMES = [
  { label: "1 hour", seconds: 3_600 },
  { label: "1 day", seconds: 86_400 },
  { label: "1 week", seconds: 7 * 86_400 },
  { label: "30 days", seconds: 30 * 86_400 },
] as const;

interface MakeLinkProps {
  readonly room: RoomName;
  readonly roles: readonly Role[];
  readonly short: string;
  readonly onMade: (link: KeptLink) => void;
  readonly onRefused: (why: string) => void;
}

function MakeLink({ room, roles, short, onMade, onRefused }: MakeLinkProps) {
  const [role, setRole] = useState<Role>("viewer");
  const [seconds, setSeconds] = useState<number>(86_400);
  const [making, setMaking] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);
  const time = useId();

  async function make(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    setMaking(true);
    setProblem(null);
    const answer = await makeLink(room, tokenOf(room.space, room.name), role, seconds);
    setMaking(false);
    if (answer.ok) return onMade({ room: roomName(room), ...answer.value });
    const why = whyNot(answer.status, answer.problem);
    if (why === null) setProblem(answer.problem);
    else onRefused(why);
  }

  return (
    <form className={styles.make} onSubmit={(event) => void make(event)} data-testid="make">
      <h3>{roles.length > 1 ? "Make a link" : "Make a link that only watches, and ends"}</h3>
      {roles.length > 1 ? <Roles label="What the link is for" roles={roles} chosen={role} short={short} onChoose={setRole} /> : null}
      <div className={styles.row}>
        <span className={styles.time}>
          <label htmlFor={time}>Good for</label>
          <select id={time} value={seconds} onChange={(event) => setSeconds(Number(event.target.value))} data-testid="link-time">
            {TIMES.map(({ label, seconds }) => (
              <option key={seconds} value={seconds}>
                {label}
              </option>
            ))}
          </select>
        </span>
        <Button type="submit" kind="primary" disabled={making} data-testid="make-link">
          {making ? "Making…" : "Make it"}
        </Button>
      </div>
      <Trouble problem={problem} />
    </form>
  );
}

/** Null for what another try may change. */
function whyNot(status: number, { detail, title }: Problem): string | null {
  const said = detail ?? title;
  switch (status) {
    case 401:
      return `You have no token to make links with, so this is the plain link: it lets others watch at most. (${said})`;
    case 403:
      return `Your token may not share this room, so this is the plain link: it lets others watch at most. (${said})`;
    case 501:
      return `This server makes no tokens, so this is the plain link. (${said})`;
    default:
      return null;
  }
}

interface MadeLinksProps {
  readonly room: RoomName;
  readonly links: readonly KeptLink[];
  readonly chosen: string | null;
  readonly label: (role: Role) => string;
  readonly onChoose: (jti: string) => void;
  readonly onRevoked: (jti: string) => void;
}

function MadeLinks({ room, links, chosen, label, onChoose, onRevoked }: MadeLinksProps) {
  const [problem, setProblem] = useState<Problem | null>(null);
  const [done, setDone] = useState("");
  const [nowMs] = useState(() => Date.now());

  async function revoke(jti: string): Promise<void> {
    setProblem(null);
    const answer = await revokeLink(room, tokenOf(room.space, room.name), jti);
    if (!answer.ok) return setProblem(answer.problem);
    setDone(`The link is taken back. ${answer.value === 1 ? "1 session has" : `${answer.value} sessions have`} ended.`);
    onRevoked(jti);
  }

  return (
    <>
      {links.length === 0 ? null : (
        <section className={styles.made} aria-label="Links made on this device">
          <h3>Made on this device</h3>
          <ul>
            {links.map(({ jti, role, expiresAtMs }) => (
              <li key={jti} data-testid="made" data-role={role} data-jti={jti}>
                <button type="button" className={styles.choose} aria-pressed={jti === chosen} onClick={() => onChoose(jti)} title="Show this link">
                  <strong>{label(role)}</strong>
                  <span>ends {timeLeft(expiresAtMs, nowMs)}</span>
                </button>
                <Button onClick={() => void revoke(jti)} aria-label={`Revoke the link: ${label(role)}, ends ${timeLeft(expiresAtMs, nowMs)}`} data-testid="revoke-link">
                  Revoke
                </Button>
              </li>
            ))}
          </ul>
        </section>
      )}
      <p className={styles.done} role="status" data-testid="revoked">
        {done}
      </p>
      <Trouble problem={problem} />
    </>
  );
}

function Trouble({ problem }: { problem: Problem | null }) {
  if (problem === null) return null;
  return (
    <p className={styles.trouble} role="alert" data-testid="share-problem">
      <strong>{problem.title}:</strong> {problem.detail}
    </p>
  );
}

interface RolesProps {
  readonly label: string;
  readonly roles: readonly Role[];
  readonly chosen: Role | null;
  readonly short: string;
  readonly onChoose: (role: Role) => void;
}

function Roles({ label, roles, chosen, short, onChoose }: RolesProps) {
  const group = useId();
  return (
    <span className={styles.switch} role="radiogroup" aria-label={label}>
      {roles.map((of) => (
        <label key={of}>
          <input type="radio" name={group} checked={chosen === of} onChange={() => onChoose(of)} data-testid={`${of}-role`} />
          <span>{of === "viewer" ? "Watch" : short}</span>
        </label>
      ))}
    </span>
  );
}

function LinkField({ url, label, does, testid }: { url: string; label: string; does: string; testid: string }) {
  const field = useRef<HTMLInputElement>(null);
  const id = useId();
  const [copied, setCopied] = useState(false);

  async function copy(): Promise<void> {
    setCopied(await copyText(url, field.current));
    setTimeout(() => setCopied(false), 1_800);
  }

  return (
    <div className={styles.link}>
      <label htmlFor={id}>
        <strong>{label}</strong> <span>{does}</span>
      </label>
      <div className={styles.row}>
        <input id={id} ref={field} readOnly value={url} onFocus={(event) => event.target.select()} data-testid={testid} />
        <Button className={styles.copy} onClick={() => void copy()} aria-label={`${copied ? "Copied" : "Copy"} the link: ${label}`} data-testid={`copy-${testid}`}>
          <Icon name={copied ? "check" : "copy"} />
          <span aria-live="polite">{copied ? "Copied" : "Copy"}</span>
        </Button>
      </div>
    </div>
  );
}
