/** A text that many write at once: the editor, who is here, and whether everything is saved. */

import { useEffect, useState, useSyncExternalStore } from "react";
import { useLocation } from "wouter";
import { Button } from "../../design/Button";
import { Notice } from "../../design/Notice";
import { usePageTitle } from "../../design/page-title";
import { NO_SUCH_ROOM } from "../../room/connection";
import type { Role } from "../../room/slug";
import { TextSession } from "../../text/session";
import { TextBoard } from "./TextBoard";

export default function TextPage({ name, role }: { name: string; role: Role }) {
  const [session, setSession] = useState<TextSession | null>(null);
  usePageTitle(name);
  useEffect(() => {
    const joined = new TextSession(name, role);
    // eslint-disable-next-line react-hooks/set-state-in-effect -- a session must be ended, so an effect owns it
    setSession(joined);
    return () => joined.end();
  }, [name, role]);
  return session === null ? null : <OpenedText session={session} />;
}

function OpenedText({ session }: { session: TextSession }) {
  const view = useSyncExternalStore(session.subscribe, session.view);
  const [, go] = useLocation();
  useEffect(() => {
    const ask = (event: BeforeUnloadEvent): void => {
      if (session.room !== null && !session.saved && !session.view().keepsEdits) event.preventDefault();
    };
    window.addEventListener("beforeunload", ask);
    return () => window.removeEventListener("beforeunload", ask);
  }, [session]);
  if (view.connection.at !== "refused") return <TextBoard session={session} view={view} />;
  const { code, reason } = view.connection;
  const gone = code === NO_SUCH_ROOM;
  return (
    <Notice
      title={gone ? "There is no such text" : "This text cannot be opened"}
      code={reason === "" ? String(code) : `${code} · ${reason}`}
      testid="refused"
      actions={
        <>
          {gone ? null : (
            <Button kind="primary" onClick={() => location.reload()} data-testid="retry">
              Try again
            </Button>
          )}
          <Button kind={gone ? "primary" : "plain"} onClick={() => go("/")}>
            Go to the start
          </Button>
        </>
      }
    >
      <p role="alert">{gone
          ? "It was deleted, or the address is not quite right."
          : code === 0
            ? "This page could not do it, for the reason below."
            : "The server closed it, and gave the reason below."}</p>
    </Notice>
  );
}
