import { useCallback, useEffect, useState } from "react";
import { deleteRoom, evictRoom, listRooms, revoke, ROOMS_PER_PAGE, type ListedRoom, type RoomsPage } from "../../api/admin";
import type { Answer, Failed } from "../../api/ask";
import { Button } from "../../design/Button";
import { Dialog } from "../../design/Dialog";
import { timeAgo } from "../../design/time-ago";
import { withUnit } from "../../design/units";
import styles from "./AdminPage.module.css";
import { Pager } from "./Pager";

interface Shown extends RoomsPage {
  readonly asOfMs: number;
}

type Asked = { readonly what: "delete" | "revoke"; readonly room: ListedRoom } | null;

export function Rooms({ token, onFailed }: { token: string; onFailed: (failed: Failed | null) => void }) {
  /** What each page so far began after; the last one is shown. */
  const [path, setPath] = useState<readonly (string | null)[]>([null]);
  const [shown, setShown] = useState<Shown | null>(null);
  const [asked, setAsked] = useState<Asked>(null);
  const [done, setDone] = useState("");
  const after = path.at(-1) ?? null;

  const load = useCallback(async (): Promise<void> => {
    const answer = await listRooms(token, after);
    if (answer.ok) setShown({ ...answer.value, asOfMs: Date.now() });
    else onFailed(answer);
  }, [token, after, onFailed]);

  useEffect(() => {
    let left = false;
    void listRooms(token, after).then((answer) => {
      if (left) return;
      if (answer.ok) setShown({ ...answer.value, asOfMs: Date.now() });
      else onFailed(answer);
    });
    return () => {
      left = true;
    };
  }, [token, after, onFailed]);

  async function tell<T>(deed: Promise<Answer<T>>, words: (value: T) => string): Promise<void> {
    setAsked(null);
    onFailed(null);
    const answer = await deed;
    if (!answer.ok) return onFailed(answer);
    setDone(words(answer.value));
    await load();
  }

  const named = ({ space, name }: ListedRoom): string => `${space}/${name}`;
  return (
    <section className={styles.card} aria-labelledby="rooms" data-testid="admin-rooms">
      <div className={styles.row}>
        <h2 id="rooms">Rooms</h2>
        <Button onClick={() => void load()} data-testid="admin-refresh">
          Look again
        </Button>
      </div>
      <p role="status" className={styles.soft} data-testid="admin-done">
        {done}
      </p>
      {shown === null ? <p className={styles.soft}>…</p> : shown.rooms.length === 0 ? <p className={styles.soft}>None that this token is for{after === null ? "" : ", on this page"}.</p> : null}
      <table className={styles.list} hidden={shown === null || shown.rooms.length === 0}>
        <thead>
          <tr>
            <th scope="col">Room</th>
            <th scope="col">Size</th>
            <th scope="col">Here now</th>
            <th scope="col">Last record</th>
            <th scope="col">
              <span className={styles.spoken}>What to do</span>
            </th>
          </tr>
        </thead>
        <tbody>
          {shown?.rooms.map((room) => (
            <tr key={named(room)} data-testid="admin-room" data-room={named(room)}>
              <th scope="row">
                {named(room)}
              </th>
              <td data-label="Size">
                {withUnit(room.bytes, "bytes")}, {withUnit(room.records, "records")}
              </td>
              <td data-label="Here now">{room.sessions}</td>
              <td data-label="Last record">
                <time dateTime={new Date(room.updatedAtMs).toISOString()}>{timeAgo(room.updatedAtMs, shown.asOfMs)}</time>
              </td>
              <td>
                <div className={styles.actions}>
                  <Button onClick={() => void tell(evictRoom(token, room), (was) => (was ? `${named(room)} is unloaded.` : `${named(room)} was not loaded.`))} aria-label={`Evict ${named(room)}`} title="Unload it; its members come back" data-testid="evict">
                    Evict
                  </Button>
                  <Button onClick={() => setAsked({ what: "revoke", room })} aria-label={`Revoke the tokens of ${named(room)}`} data-testid="revoke-room">
                    Revoke
                  </Button>
                  <Button onClick={() => setAsked({ what: "delete", room })} aria-label={`Delete ${named(room)}`} data-testid="delete">
                    Delete
                  </Button>
                </div>
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <Pager path={path} next={shown?.next ?? null} size={withUnit(ROOMS_PER_PAGE, "rooms")} onPath={setPath} testid="admin" />
      {asked === null ? null : (
        <Dialog title={asked.what === "delete" ? "Delete this room?" : "Revoke its tokens?"} onClose={() => setAsked(null)} testid="admin-ask">
          <p>
            <strong className={styles.named}>{named(asked.room)}</strong>
          </p>
          <p>
            {asked.what === "delete"
              ? "Everything that was ever written in it is erased, and its members are sent away. This cannot be undone."
              : "Every token made until now ends in this room, whatever rooms it is for, and the sessions it let in with it. Yours too, here."}
          </p>
          <div className={styles.actions}>
            <Button onClick={() => setAsked(null)}>Cancel</Button>
            {asked.what === "delete" ? (
              <Button kind="primary" onClick={() => void tell(deleteRoom(token, asked.room), () => `${named(asked.room)} is deleted.`)} data-testid="admin-confirm">
                Delete
              </Button>
            ) : (
              <Button kind="primary" onClick={() => void tell(revoke(token, "room", named(asked.room)), (ended) => `The tokens of ${named(asked.room)} are revoked; ${sessions(ended)}.`)} data-testid="admin-confirm">
                Revoke
              </Button>
            )}
          </div>
        </Dialog>
      )}
    </section>
  );
}

export function sessions(ended: number): string {
  return ended === 1 ? "1 session has ended" : `${ended.toLocaleString("en")} sessions have ended`;
}
