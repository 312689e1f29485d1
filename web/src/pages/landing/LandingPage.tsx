import { useEffect, useId, useRef, useState, type SubmitEvent } from "react";
import { Link, useLocation } from "wouter";
import { TokenField, type Pasted } from "../../access/TokenField";
import type { Failed } from "../../api/ask";
import { startPit } from "../../api/pits";
import { Button, IconButton } from "../../design/Button";
import { Icon } from "../../design/Icon";
import { Mark } from "../../design/Mark";
import { usePageTitle } from "../../design/page-title";
import { timeAgo, timeLeft } from "../../design/time-ago";
import { useCountdown, waitText } from "../../design/countdown";
import { unsentRooms } from "../../room/copies";
import { pathOfRoom, readLink, readPasted, roomName, roomOfName, type RoomName } from "../../room/link";
import { forgetPit, recentPits, type RecentPit } from "../../room/recent-pits";
import { asksForToken, kindOfProblem, waitOfProblem, withoutWait } from "../../room/refusal";
import { replayPath } from "../../room/replay-path";
import { randomId } from "../../room/identity";
import { lowerRole, parsePitCode, pitPath, PIT_CODE_LENGTH, type Role } from "../../room/slug";
import { textPath } from "../../room/text-path";
import { forgetToken, hasExpired, keepToken, keptTokens, readClaims, tokenFor, type KeptToken } from "../../room/tokens";
import styles from "./LandingPage.module.css";

/** A text is there from its first edit on; its name need only be nobody else's. */
const TEXT_NAME_LENGTH = 8;

export function LandingPage() {
  usePageTitle(null);
  return (
    <main className={styles.page} data-testid="landing">
      <div className={styles.column}>
        <header className={styles.head}>
          <Mark size={56} />
          <h1>The Well</h1>
          <p className={styles.lead}>Draw and write together, live. Once it says saved, it stays saved.</p>
        </header>
        <div className={styles.card}>
          <StartPit />
          <p className={styles.or} aria-hidden="true">
            or
          </p>
          <JoinPit />
        </div>
        <OwnRooms />
        <WideTokens />
        <footer className={styles.foot}>
          <Link href="/observatory">Observatory</Link>
        </footer>
      </div>
    </main>
  );
}

function StartPit() {
  const [, go] = useLocation();
  const [starting, setStarting] = useState(false);
  const [failed, setFailed] = useState<Failed | null>(null);
  const asks = failed !== null && asksForToken(kindOfProblem(failed.status, failed.problem.code));

  async function start(): Promise<void> {
    setStarting(true);
    setFailed(null);
    const started = await startPit();
    if (started.ok) return go(pitPath(started.value, "creator"));
    setStarting(false);
    setFailed(started);
  }

  /** A link leads to its room; a token for many rooms is what the new pit is made with. */
  function take({ token, room }: Pasted): void {
    const named = room ?? onlyRoomOf(token);
    keepToken(named === null ? null : roomName(named), token, Date.now());
    if (named !== null) go(pathOfRoom(named));
    else void start();
  }

  return (
    <div className={styles.start}>
      <Button kind="primary" className={styles.wide} onClick={() => void start()} disabled={starting} data-testid="start-pit">
        {starting ? "Starting…" : "Start a pit"}
      </Button>
      <Button className={styles.wide} onClick={() => go(textPath(randomId(TEXT_NAME_LENGTH)))} data-testid="start-text">
        Start a text
      </Button>
      {failed === null ? null : asks ? (
        <div role="alert" className={styles.ask} data-testid="problem" data-code={failed.problem.code ?? undefined}>
          <strong>New pits take a token here</strong>
          {/* The server's words name a room that was never made. */}
          {failed.problem.code === "no_token" ? null : <span>{failed.problem.detail ?? failed.problem.title}</span>}
          <TokenField label="Your token, or a link to a pit" onToken={take} />
        </div>
      ) : (
        <StartProblem key={failed.problem.title} {...failed} />
      )}
    </div>
  );
}

/** The room of a token that is for one alone. */
function onlyRoomOf(token: string): RoomName | null {
  const [room, ...others] = readClaims(token)?.rooms ?? [];
  return room === undefined || others.length > 0 ? null : roomOfName(room);
}

function StartProblem({ problem }: Failed) {
  const [endsAtMs] = useState(() => {
    const waitS = waitOfProblem(problem);
    return waitS === null ? null : Date.now() + waitS * 1_000;
  });
  const left = useCountdown(endsAtMs);
  return (
    <div role="alert" className={styles.problem} data-testid="problem" data-code={problem.code ?? undefined}>
      <strong>{problem.title}</strong>
      {problem.detail === null ? null : <span>{left === null ? problem.detail : withoutWait(problem.detail)}</span>}
      {left === null ? null : <span>{left > 0 ? `It may work again in ${waitText(left)}.` : "It may work now."}</span>}
    </div>
  );
}

function JoinPit() {
  const [, go] = useLocation();
  const [text, setText] = useState(codeToCheck);
  const [wrong, setWrong] = useState(false);
  /** The token of a pasted link, whose code is what the field shows. */
  const [token, setToken] = useState<string | null>(null);
  /** The role that a pasted link asks for. */
  const [role, setRole] = useState<Role>("creator");
  const field = useId();
  const hint = useId();

  function join(event: SubmitEvent): void {
    event.preventDefault();
    const code = parsePitCode(text);
    if (code === null) return setWrong(true);
    if (token !== null) keepToken(`pit/${code}`, token, Date.now());
    go(pitPath(code, role));
  }

  function change(value: string): void {
    setWrong(false);
    const pasted = readPasted(value);
    const link = readLink(value);
    if (link !== null && link.room.space !== "pit") {
      if (pasted !== null) keepToken(roomName(link.room), pasted.token, Date.now());
      return go(`${pathOfRoom(link.room)}${link.role === null ? "" : `?role=${link.role}`}`);
    }
    if (pasted !== null || value === "") setToken(pasted?.token ?? null);
    if (link !== null || value === "") setRole(link?.role ?? "creator");
    // A pasted link becomes the code it carries.
    setText(value.includes("/") ? (parsePitCode(value) ?? value) : value);
  }

  return (
    <form className={styles.join} onSubmit={join} noValidate>
      <label htmlFor={field}>Join with a code</label>
      <div className={styles.joinRow}>
        <input
          id={field}
          className={styles.code}
          value={text}
          onChange={(event) => change(event.target.value)}
          placeholder="such as k3x9qa"
          autoFocus={text !== "" && codeToCheck() === text}
          autoCapitalize="none"
          autoComplete="off"
          autoCorrect="off"
          spellCheck={false}
          aria-invalid={wrong}
          aria-describedby={hint}
          data-testid="join-code"
        />
        <Button type="submit" data-testid="join">
          Join
        </Button>
      </div>
      <p id={hint} className={wrong ? styles.wrong : styles.hint} role={wrong ? "alert" : undefined} data-testid="join-hint">
        {wrong ? `A code has ${PIT_CODE_LENGTH} characters, none of 0 1 i l o.` : `${PIT_CODE_LENGTH} characters, or paste the whole link.`}
      </p>
    </form>
  );
}

/** A code that led nowhere, to be looked at again. */
function codeToCheck(): string {
  return (new URLSearchParams(location.search).get("code") ?? "").slice(0, 64);
}

function OwnRooms() {
  const [rooms, setRooms] = useState<readonly OwnRoom[]>(ownRooms);
  const [nowMs] = useState(() => Date.now());
  const waiting = useUnsent(rooms);
  if (rooms.length === 0) return null;

  return (
    <section className={styles.recent} aria-labelledby="recent" data-testid="recent">
      <h2 id="recent">{rooms.every(({ space }) => space === "pit") ? "Your pits" : "Your pits and texts"}</h2>
      <ul>
        {rooms.map((room) => {
          const { space, name, role, visitedAtMs, token } = room;
          const state = space === "pit" ? waiting.get(name) : undefined;
          return (
            <li key={`${space}/${name}`} className={styles.recentPit} data-testid="own-room" data-room={`${space}/${name}`} data-role={role}>
              <Link href={space === "pit" ? pitPath(name, role) : textPath(name)} className={styles.recentLink}>
                <span className={styles.recentCode}>{name}</span>
                <span className={styles.recentTime}>
                  {state !== undefined ? (
                    <span className={styles.waiting} role="status" data-testid="waiting" data-slug={name} data-state={state}>
                      {WAITING[state]}
                    </span>
                  ) : token !== null ? (
                    <span data-testid="own-token">
                      {role}, {ends(token, nowMs)}
                    </span>
                  ) : (
                    <>
                      {role === "viewer" ? "watched " : ""}
                      {visitedAtMs === null ? null : <time dateTime={new Date(visitedAtMs).toISOString()}>{timeAgo(visitedAtMs, nowMs)}</time>}
                    </>
                  )}
                </span>
                <Icon name="arrow" />
              </Link>
              <Link href={replayPath(space, name, role)} className={styles.history} aria-label={`History of ${name}`} title="History">
                <Icon name="history" />
              </Link>
              <IconButton
                icon="close"
                label={token?.room === `${space}/${name}` ? `Remove ${name} and its token from this list` : `Remove ${name} from this list`}
                onClick={() => {
                  forgetRoom(room);
                  setRooms(ownRooms());
                }}
              />
            </li>
          );
        })}
      </ul>
    </section>
  );
}

function forgetRoom({ space, name }: OwnRoom): void {
  if (space === "pit") forgetPit(name);
  for (const kept of keptTokens(Date.now())) if (kept.room === `${space}/${name}`) forgetToken(kept);
}

function ends({ claims }: KeptToken, nowMs: number): string {
  if (claims === null) return "token unreadable";
  return claims.expiresAtMs <= nowMs ? "expired" : `ends ${timeLeft(claims.expiresAtMs, nowMs)}`;
}

/** Tokens that are for more than one room. */
function WideTokens() {
  const [tokens, setTokens] = useState(wideTokens);
  const [nowMs] = useState(() => Date.now());
  if (tokens.length === 0) return null;
  return (
    <section className={styles.recent} aria-labelledby="wide" data-testid="wide-tokens">
      <h2 id="wide">Tokens in this browser</h2>
      <ul>
        {tokens.map((kept) => (
          <li key={kept.token} className={styles.wideToken} data-testid="wide-token">
            <span className={styles.recentCode}>{kept.claims?.rooms.join(", ")}</span>
            <span className={styles.recentTime}>
              {kept.claims?.role}, {ends(kept, nowMs)}
            </span>
            <IconButton
              icon="close"
              label={`Forget the token for ${kept.room}`}
              onClick={() => {
                forgetToken(kept);
                setTokens(wideTokens());
              }}
            />
          </li>
        ))}
      </ul>
    </section>
  );
}

function wideTokens(): readonly KeptToken[] {
  return keptTokens(Date.now()).filter(({ room, claims }) => room.endsWith("*") && claims !== null);
}

interface OwnRoom {
  readonly space: "pit" | "text";
  readonly name: string;
  /** As it was entered, or less where the token has become less. */
  readonly role: Role;
  /** Null for one that has only a token here. */
  readonly visitedAtMs: number | null;
  readonly token: KeptToken | null;
}

/** The recent pits, those with unsent edits that have fallen off the list, and the rooms that a token is kept for. */
function ownRooms(): readonly OwnRoom[] {
  const nowMs = Date.now();
  const recent = recentPits();
  const unsent = unsentPits().filter((slug) => !recent.some((pit) => pit.slug === slug));
  const entered = [...unsent.map((slug): RecentPit => ({ slug, role: "editor", visitedAtMs: nowMs })), ...recent].map(({ slug, role, visitedAtMs }): OwnRoom => {
    const token = tokenFor(`pit/${slug}`, nowMs);
    return { space: "pit", name: slug, role: lowerRole(role, roleOf(token) ?? role), visitedAtMs, token };
  });
  const others = new Map<string, OwnRoom>();
  for (const token of keptTokens(nowMs)) {
    const room = roomOfName(token.room);
    const listed = room === null || entered.some(({ space, name }) => space === room.space && name === room.name);
    if (listed || hasExpired(token, nowMs) || others.has(token.room)) continue;
    const { space, name } = room;
    if (space === "pit" || space === "text") others.set(token.room, { space, name, role: roleOf(token) ?? "viewer", visitedAtMs: null, token });
  }
  return [...entered, ...others.values()];
}

function roleOf(token: KeptToken | null): Role | null {
  const role = token?.claims?.role ?? null;
  return role === "admin" ? "creator" : role;
}

type Waiting = "sending" | "kept" | "sent";

const WAITING: Readonly<Record<Waiting, string>> = {
  sending: "sending changes…",
  kept: "changes wait here: open it to send",
  sent: "changes sent",
};

function unsentPits(): readonly string[] {
  return unsentRooms().flatMap((room) => (room.startsWith("pit/") ? [room.slice("pit/".length)] : []));
}

/** How soon what could not be sent is tried again, at first and at last. */
const FIRST_RETRY_MS = 1_500;
const LAST_RETRY_MS = 30_000;

/** Edits that other visits have left are sent one pit after the other, now and when the network returns. */
function useUnsent(rooms: readonly OwnRoom[]): ReadonlyMap<string, Waiting> {
  const [waiting, setWaiting] = useState<ReadonlyMap<string, Waiting>>(() => new Map(unsentPits().map((slug) => [slug, "sending"])));
  const roles = useRef(new Map(rooms.flatMap(({ space, name, role }) => (space === "pit" ? [[name, role] as const] : []))));
  useEffect(() => {
    let left = false;
    const tell = (slug: string, state: Waiting): void => {
      if (!left) setWaiting((before) => new Map(before).set(slug, state));
    };
    const sendAll = async (): Promise<void> => {
      const unsent = unsentPits();
      if (unsent.length === 0) return;
      const { sendUnsent } = await import("../../room/send-unsent");
      for (const slug of unsent) {
        if (left) return;
        const role = roles.current.get(slug) ?? "editor";
        if (role === "viewer") {
          tell(slug, "kept");
          continue;
        }
        tell(slug, "sending");
        tell(slug, (await sendUnsent(slug, role)) ? "sent" : "kept");
      }
    };
    let timer = 0;
    let wait = FIRST_RETRY_MS;
    let busy = false;
    const again = async (): Promise<void> => {
      if (busy) return;
      busy = true;
      window.clearTimeout(timer);
      await sendAll().catch(() => undefined);
      busy = false;
      // What a viewer keeps is not sent from here, however often it is tried.
      const remains = unsentPits().some((slug) => roles.current.get(slug) !== "viewer");
      if (left || !remains) return;
      timer = window.setTimeout(online, wait);
      wait = Math.min(wait * 2, LAST_RETRY_MS);
    };
    const online = (): void => void again();
    online();
    window.addEventListener("online", online);
    return () => {
      left = true;
      window.clearTimeout(timer);
      window.removeEventListener("online", online);
    };
  }, []);
  return waiting;
}
