import { useEffect, useRef, useState, type RefObject } from "react";
import type { Failed } from "../../api/ask";
import { askRooms, type Token } from "../../api/observatory";
import table from "../../design/Table.module.css";
import { withUnit } from "../../design/units";
import { ORDERS, type Order, type RoomList, type RoomRow } from "../../observatory/rooms";
import { Choice } from "./Choice";
import { RoomPanel } from "./RoomPanel";
import styles from "./Rooms.module.css";
import { useAskedAgain } from "./use-asked-again";

const AGAIN_MS = 2_000;
const CHOICES = ORDERS.map(({ by, label }) => ({ value: by, label }));

/** The loaded rooms, the most of something first; one of them closer. */
export function Rooms({ token, opened, onOpen }: { token: Token; opened: string | null; onOpen: (room: string | null) => void }) {
  const [by, setBy] = useState<Order>("updates");
  const { value: list, failed } = useAskedAgain<RoomList>(`rooms ${by}`, () => askRooms(token, by), AGAIN_MS);

  const shown = useRef<HTMLDivElement>(null);
  useFocusBack(shown, opened, list !== null);

  if (opened !== null) return <RoomPanel key={opened} token={token} room={opened} onClose={() => onOpen(null)} />;
  return (
    <div ref={shown} tabIndex={-1} className={styles.rooms}>
      <div className={styles.bar}>
        <Choice label="What comes first" choices={CHOICES} value={by} onChoose={setBy} testid="order" />
        <p className={styles.soft}>
          {list === null ? "" : `${withUnit(list.rooms.length, "rooms")} of ${list.loaded === null ? "an unknown number" : list.loaded.toLocaleString("en")} loaded`}
        </p>
      </div>
      <FailedLine failed={failed} stale={list !== null} />
      {list === null ? failed === null ? <p className={styles.soft}>Loading…</p> : null : list.rooms.length === 0 ? <p className={styles.soft}>No room is loaded: nobody is in one.</p> : <List rooms={list.rooms} onOpen={onOpen} />}
    </div>
  );
}

/** Who comes back from a room goes on at its name in the list, or at the list if the room is there no more. */
function useFocusBack(shown: RefObject<HTMLElement | null>, opened: string | null, isListed: boolean): void {
  const left = useRef<string | null>(null);
  useEffect(() => {
    if (opened !== null) {
      left.current = opened;
    } else if (left.current !== null && isListed) {
      const row = shown.current?.querySelector(`[data-room="${CSS.escape(left.current)}"]`);
      (row?.querySelector("button") ?? shown.current)?.focus();
      left.current = null;
    }
  }, [shown, opened, isListed]);
}

function List({ rooms, onOpen }: { rooms: readonly RoomRow[]; onOpen: (room: string) => void }) {
  return (
    <table className={table.table} data-testid="room-list">
      <thead>
        <tr>
          <th scope="col">Room</th>
          <th scope="col">Kind</th>
          <th scope="col">Rate</th>
          <th scope="col">Bytes</th>
          <th scope="col">Sessions</th>
          <th scope="col">Slowest reader</th>
          <th scope="col">Log</th>
          <th scope="col">Document</th>
        </tr>
      </thead>
      <tbody>
        {rooms.map((room) => (
          <tr key={room.room} data-testid="room-row" data-room={room.room}>
            <th scope="row">
              <button type="button" className={styles.open} onClick={() => onOpen(room.room)}>
                {room.room}
              </button>
            </th>
            <td data-label="Kind">{room.kind}</td>
            <td data-label="Rate">{withUnit(room.updatesPerSecond, "updates/s")}</td>
            <td data-label="Bytes">{withUnit(room.bytesPerSecond, "bytes/s")}</td>
            <td data-label="Sessions">{withUnit(room.sessions, "sessions")}</td>
            <td data-label="Slowest reader">{withUnit(room.lagRecords, "records")}</td>
            <td data-label="Log">{withUnit(room.head, "records")}</td>
            <td data-label="Document">{withUnit(room.documentBytes, "bytes")}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

/** What was asked for did not come; what is shown is what came before. */
export function FailedLine({ failed, stale }: { failed: Failed | null; stale: boolean }) {
  const [sinceMs, setSinceMs] = useState<number | null>(null);
  const failing = failed !== null;
  useEffect(() => {
    // eslint-disable-next-line react-hooks/set-state-in-effect -- the moment it began is not known before
    setSinceMs(failing ? Date.now() : null);
  }, [failing]);
  if (failed === null) return null;
  return (
    <p role="alert" className={styles.problem}>
      <strong>{failed.problem.title}:</strong> {failed.problem.detail}
      {stale && sinceMs !== null ? ` What you see is as of ${new Date(sinceMs).toLocaleTimeString("en-GB")}.` : ""}
    </p>
  );
}
