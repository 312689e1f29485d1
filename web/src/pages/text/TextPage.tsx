/** A text that many write at once: the editor, who is here, and whether everything is saved. */

import { useEffect, useState, useSyncExternalStore } from "react";
import { Refused } from "../../access/Refused";
import { usePageTitle } from "../../design/page-title";
import { kindOfClose, waitOf } from "../../room/refusal";
import type { Role } from "../../room/slug";
import { TextSession } from "../../text/session";
import { TextBoard } from "./TextBoard";

export default function TextPage({ name, role }: { name: string; role: Role }) {
  const [session, setSession] = useState<TextSession | null>(null);
  const [attempt, setAttempt] = useState(0);
  usePageTitle(name);
  useEffect(() => {
    const joined = new TextSession(name, role);
    // eslint-disable-next-line react-hooks/set-state-in-effect -- a session must be ended, so an effect owns it
    setSession(joined);
    return () => joined.end();
  }, [name, role, attempt]);
  return session === null ? null : <OpenedText key={attempt} session={session} onAgain={() => setAttempt(attempt + 1)} />;
}

function OpenedText({ session, onAgain }: { session: TextSession; onAgain: () => void }) {
  const view = useSyncExternalStore(session.subscribe, session.view);
  useEffect(() => {
    const ask = (event: BeforeUnloadEvent): void => {
      if (session.unstored === "page" || session.view().lost !== null) event.preventDefault();
    };
    window.addEventListener("beforeunload", ask);
    return () => window.removeEventListener("beforeunload", ask);
  }, [session]);
  if (view.connection.at !== "refused") return <TextBoard session={session} view={view} />;
  const { code, reason } = view.connection;
  return (
    <Refused
      room={{ space: "text", name: session.name }}
      thing="text"
      kind={kindOfClose(code, reason)}
      said={reason === "" ? String(code) : `${code} · ${reason}`}
      waitS={waitOf(reason)}
      unstored={session.unstored}
      onAgain={onAgain}
      testid="refused"
    />
  );
}
