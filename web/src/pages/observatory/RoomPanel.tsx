import { useEffect, useRef, useState } from "react";
import { Link } from "wouter";
import type { Failed } from "../../api/ask";
import { askLastRecords, askRoom, splitRoom, type Token } from "../../api/observatory";
import { Button } from "../../design/Button";
import { Icon } from "../../design/Icon";
import { timeAgo } from "../../design/time-ago";
import table from "../../design/Table.module.css";
import { NO_DATA, withUnit } from "../../design/units";
import { extentOf, type Line } from "../../observatory/recording";
import type { RoomDetail } from "../../observatory/rooms";
import { clockText, dayText } from "../../past/moment";
import type { PastRecord } from "../../past/records";
import { replayPath } from "../../room/replay-path";
import { authorName } from "../replay/authors";
import { FailedLine } from "./Rooms";
import styles from "./Rooms.module.css";
import { useAskedAgain } from "./use-asked-again";

const AGAIN_MS = 1_000;

/** One room: how busy it is, who is in it, and what was last written. */
export function RoomPanel({ token, room, onClose }: { token: Token; room: string; onClose: () => void }) {
  const { value: detail, failed } = useAskedAgain<RoomDetail>(room, () => askRoom(token, room), AGAIN_MS);
  const heading = useRef<HTMLHeadingElement>(null);
  useEffect(() => heading.current?.focus(), []);
  const [space, name] = splitRoom(room);
  return (
    <div className={styles.rooms} data-testid="room-detail" data-room={room}>
      <div className={styles.bar}>
        <Button onClick={onClose} data-testid="room-close">
          <Icon name="back" /> All rooms
        </Button>
        <h2 ref={heading} tabIndex={-1} className={styles.name}>
          {room}
        </h2>
        <Link href={replayPath(space, name, "viewer")} className={styles.replay} data-testid="room-replay">
          <Icon name="history" /> Its history
        </Link>
      </div>
      {failed?.status === 404 ? (
        <p role="status" className={styles.soft}>
          This room is not loaded: nobody is in it. Its history is still there.
        </p>
      ) : (
        <FailedLine failed={failed} stale={detail !== null} />
      )}
      {detail === null ? failed === null ? <p className={styles.soft}>Loading…</p> : null : <Detail detail={detail} />}
      <LastRecords token={token} room={room} head={detail?.head ?? null} />
    </div>
  );
}

function Detail({ detail }: { detail: RoomDetail }) {
  return (
    <>
      <section className={styles.card} aria-label="Rate">
        <p>
          <strong>{withUnit(detail.updatesPerSecond, "updates/s")}</strong>, {withUnit(detail.bytesPerSecond, "bytes/s")}, {withUnit(detail.head, "records")} in its log, document of {withUnit(detail.documentBytes, "bytes")}, slowest reader{" "}
          {withUnit(detail.lagRecords, "records")} behind
        </p>
        <Sparkline line={detail.updatesHistory} />
      </section>
      <section className={styles.card} aria-labelledby="room-sessions">
        <h3 id="room-sessions">
          Sessions <small>{detail.listedOf === null ? withUnit(detail.sessions, "sessions") : `${detail.listed.length} of ${detail.listedOf.toLocaleString("en")}`}</small>
        </h3>
        {detail.listed.length === 0 ? (
          <p className={styles.soft}>Nobody is in it.</p>
        ) : (
          <table className={table.table} data-testid="room-sessions">
            <thead>
              <tr>
                <th scope="col">Session</th>
                <th scope="col">User</th>
                <th scope="col">Over</th>
                <th scope="col">Role</th>
                <th scope="col">Round trip</th>
                <th scope="col">Behind</th>
                <th scope="col">Sent</th>
                <th scope="col">Received</th>
                <th scope="col">Since</th>
              </tr>
            </thead>
            <tbody>
              {detail.listed.map((session) => (
                <tr key={session.session} data-testid="room-session">
                  <th scope="row">{session.session}</th>
                  <td data-label="User">{session.user ?? "no name"}</td>
                  <td data-label="Over">
                    {session.dialect}, {session.transport}
                  </td>
                  <td data-label="Role">{session.role}</td>
                  <td data-label="Round trip">{withUnit(session.rttSeconds, "seconds")}</td>
                  <td data-label="Behind">{withUnit(session.lagRecords, "records")}</td>
                  <td data-label="Sent">{withUnit(session.sentBytes, "bytes")}</td>
                  <td data-label="Received">{withUnit(session.receivedBytes, "bytes")}</td>
                  <td data-label="Since">{session.since === null ? NO_DATA : <Since ms={session.since} />}</td>
                </tr>
              ))}
            </tbody>
          </table>
        )}
      </section>
    </>
  );
}

function Since({ ms }: { ms: number }) {
  const [nowMs] = useState(() => Date.now());
  return (
    <time dateTime={new Date(ms).toISOString()} title={`${dayText(ms)}, ${clockText(ms, false)}`}>
      {timeAgo(ms, Math.max(ms, nowMs))}
    </time>
  );
}

const WIDTH = 300;
const HEIGHT = 48;

/** The last five minutes at most; what is not known is a gap. */
function Sparkline({ line }: { line: Line }) {
  const { high, missing } = extentOf(line);
  const known = line.length - missing;
  const top = Math.max(high ?? 0, 1);
  const x = (index: number): number => WIDTH - (line.length - 1 - index);
  const path = line.map((value, index) => (value === null ? "" : `${index === 0 || (line[index - 1] ?? null) === null ? "M" : "L"}${x(index)} ${HEIGHT - 1 - (value / top) * (HEIGHT - 4)}`)).join("");
  const words = known === 0 ? NO_DATA : `at most ${withUnit(high, "updates/s")} in the last ${withUnit(line.length, "seconds")}`;
  return (
    <figure className={styles.spark}>
      <svg viewBox={`0 0 ${WIDTH} ${HEIGHT}`} preserveAspectRatio="none" role="img" aria-label={`Updates: ${words}`} data-testid="sparkline" data-points={known}>
        <path d={path} fill="none" stroke="var(--author-1)" strokeWidth="1.5" vectorEffect="non-scaling-stroke" />
      </svg>
      <figcaption className={styles.soft}>{words}</figcaption>
    </figure>
  );
}

interface Records {
  readonly head: number;
  readonly records: readonly PastRecord[];
}

/** As they were when it was opened, and anew on demand: a busy room's would not be readable. */
function LastRecords({ token, room, head }: { token: Token; room: string; head: number | null }) {
  const [shown, setShown] = useState<Records | null>(null);
  const [failed, setFailed] = useState<Failed | null>(null);
  const [asked, setAsked] = useState(false);

  async function look(head: number): Promise<void> {
    setAsked(true);
    const answer = await askLastRecords(token, room, head);
    setAsked(false);
    setFailed(answer.ok ? null : answer);
    if (answer.ok) setShown({ head, records: answer.value });
  }

  return (
    <section className={styles.card} aria-labelledby="room-records">
      <div className={styles.bar}>
        <h3 id="room-records">
          Last records <small>{shown === null ? "" : `up to ${shown.head.toLocaleString("en")}`}</small>
        </h3>
        <Button disabled={head === null || head === 0 || asked} onClick={() => void (head === null ? undefined : look(head))} data-testid="room-records-look">
          {shown === null ? "Look" : "Look again"}
        </Button>
      </div>
      <FailedLine failed={failed} stale={shown !== null} />
      {head === 0 ? <p className={styles.soft}>Nothing was ever written.</p> : null}
      {shown === null ? null : (
        <ol className={styles.records} data-testid="room-records">
          {shown.records.map((record) => (
            <li key={record.seq} data-seq={record.seq}>
              <span>#{record.seq.toLocaleString("en")}</span>
              <time dateTime={record.at}>{clockText(record.atMs)}</time>
              <span>{record.kind}</span>
              <span>{withUnit(record.payload.length, "bytes")}</span>
              <span className={styles.author}>{authorName(record.author)}</span>
            </li>
          ))}
        </ol>
      )}
    </section>
  );
}
