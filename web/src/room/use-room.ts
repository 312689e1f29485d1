import { useEffect, useState, useSyncExternalStore } from "react";
import { RoomSession, type RoomAddress, type RoomView } from "./session";

/** Joins a room for as long as the component lives. Null on the very first render only. */
export function useRoomSession({ mount, space, name, role, query }: RoomAddress): RoomSession | null {
  const [session, setSession] = useState<RoomSession | null>(null);
  useEffect(() => {
    const joined = new RoomSession({ mount, space, name, role, query });
    // eslint-disable-next-line react-hooks/set-state-in-effect -- a session must be ended, so an effect owns it
    setSession(joined);
    return () => joined.end();
  }, [mount, space, name, role, query]);
  return session;
}

export function useRoomView(session: RoomSession): RoomView {
  return useSyncExternalStore(session.subscribe, session.view);
}
