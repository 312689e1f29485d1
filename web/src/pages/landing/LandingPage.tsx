import { useEffect, useId, useRef, useState, type SubmitEvent } from "react";
import { Link, useLocation } from "wouter";
import { startPit } from "../../api/pits";
import type { Problem } from "../../api/problem";
import { Button, IconButton } from "../../design/Button";
import { Icon } from "../../design/Icon";
import { Mark } from "../../design/Mark";
import { usePageTitle } from "../../design/page-title";
import { unsentRooms } from "../../room/copies";
import { forgetPit, recentPits, type RecentPit } from "../../room/recent-pits";
import { replayPath } from "../../room/replay-path";
import { randomId } from "../../room/identity";
import { parsePitCode, pitPath, PIT_CODE_LENGTH } from "../../room/slug";
import { textPath } from "../../room/text-path";
import styles from "./LandingPage.module.css";
import { timeAgo } from "./time-ago";

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
        <RecentPits />
      </div>
    </main>
  );
}

function StartPit() {
  const [, go] = useLocation();
  const [starting, setStarting] = useState(false);
  const [problem, setProblem] = useState<Problem | null>(null);

  async function start(): Promise<void> {
    setStarting(true);
    setProblem(null);
    const started = await startPit();
    if (started.ok) return go(pitPath(started.slug, "creator"));
    setStarting(false);
    setProblem(started.problem);
  }

  return (
    <div className={styles.start}>
      <Button kind="primary" className={styles.wide} onClick={() => void start()} disabled={starting} data-testid="start-pit">
        {starting ? "Starting…" : "Start a pit"}
      </Button>
      <Button className={styles.wide} onClick={() => go(textPath(randomId(TEXT_NAME_LENGTH)))} data-testid="start-text">
        Start a text
      </Button>
      {problem === null ? null : (
        <div role="alert" className={styles.problem} data-testid="problem" data-code={problem.code ?? undefined}>
          <strong>{problem.title}</strong>
          {problem.detail === null ? null : <span>{problem.detail}</span>}
        </div>
      )}
    </div>
  );
}

function JoinPit() {
  const [, go] = useLocation();
  const [text, setText] = useState(codeToCheck);
  const [wrong, setWrong] = useState(false);
  const field = useId();
  const hint = useId();

  function join(event: SubmitEvent): void {
    event.preventDefault();
    const code = parsePitCode(text);
    if (code === null) setWrong(true);
    else go(pitPath(code, "creator"));
  }

  function change(value: string): void {
    setWrong(false);
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

function RecentPits() {
  const [pits, setPits] = useState<readonly RecentPit[]>(listed);
  const [nowMs] = useState(() => Date.now());
  const waiting = useUnsent(pits);
  if (pits.length === 0) return null;
  return (
    <section className={styles.recent} aria-labelledby="recent" data-testid="recent">
      <h2 id="recent">Recent pits</h2>
      <ul>
        {pits.map(({ slug, role, visitedAtMs }) => (
          <li key={slug} className={styles.recentPit}>
            <Link href={pitPath(slug, role)} className={styles.recentLink}>
              <span className={styles.recentCode}>{slug}</span>
              <span className={styles.recentTime}>
                {waiting.get(slug) === undefined ? (
                  <>
                    {role === "viewer" ? "watched " : ""}
                    <time dateTime={new Date(visitedAtMs).toISOString()}>{timeAgo(visitedAtMs, nowMs)}</time>
                  </>
                ) : (
                  <span className={styles.waiting} role="status" data-testid="waiting" data-slug={slug} data-state={waiting.get(slug)}>
                    {WAITING[waiting.get(slug) ?? "kept"]}
                  </span>
                )}
              </span>
              <Icon name="arrow" />
            </Link>
            <Link href={replayPath("pit", slug, role)} className={styles.history} aria-label={`History of ${slug}`} title="History">
              <Icon name="history" />
            </Link>
            <IconButton icon="close" label={`Remove ${slug} from this list`} onClick={() => setPits(forgetPit(slug))} />
          </li>
        ))}
      </ul>
    </section>
  );
}

type Waiting = "sending" | "kept" | "sent";

const WAITING: Readonly<Record<Waiting, string>> = {
  sending: "sending changes…",
  kept: "changes wait here: open it to send",
  sent: "changes sent",
};

/** The recent pits, and those with unsent edits that have fallen off the list. */
function listed(): readonly RecentPit[] {
  const recent = recentPits();
  const others = unsentPits().filter((slug) => !recent.some((pit) => pit.slug === slug));
  return [...others.map((slug): RecentPit => ({ slug, role: "editor", visitedAtMs: Date.now() })), ...recent];
}

function unsentPits(): readonly string[] {
  return unsentRooms().flatMap((room) => (room.startsWith("pit/") ? [room.slice("pit/".length)] : []));
}

/** How soon what could not be sent is tried again, at first and at last. */
const FIRST_RETRY_MS = 1_500;
const LAST_RETRY_MS = 30_000;

/** Edits that other visits have left are sent one pit after the other, now and when the network returns. */
function useUnsent(pits: readonly RecentPit[]): ReadonlyMap<string, Waiting> {
  const [waiting, setWaiting] = useState<ReadonlyMap<string, Waiting>>(() => new Map(unsentPits().map((slug) => [slug, "sending"])));
  const roles = useRef(new Map(pits.map(({ slug, role }) => [slug, role])));
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
