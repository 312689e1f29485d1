/**
 * A pit: the creator's canvas and the viewer's mirror. The role decides what is offered here, and
 * nothing else: that a viewer cannot write is the server's doing.
 */

import { useEffect } from "react";
import { useLocation } from "wouter";
import { Button } from "../../design/Button";
import { Notice } from "../../design/Notice";
import { usePageTitle } from "../../design/page-title";
import { NO_SUCH_ROOM, refusalOf, worthRetrying } from "../../room/connection";
import { forgetPit, rememberPit } from "../../room/recent-pits";
import type { RoomSession } from "../../room/session";
import type { Role } from "../../room/slug";
import { useRoomSession, useRoomView } from "../../room/use-room";
import { Board } from "./Board";

export interface PitPageProps {
  readonly slug: string;
  readonly role: Role;
  readonly token: string | null;
}

export default function PitPage({ slug, role, token }: PitPageProps) {
  const session = useRoomSession({ mount: "/pit", space: "pit", name: slug, role, token });
  usePageTitle(slug);
  return session === null ? null : <JoinedPit session={session} slug={slug} role={role} />;
}

function JoinedPit({ session, slug, role }: { session: RoomSession; slug: string; role: Role }) {
  const { connection } = useRoomView(session);
  const live = connection.at === "live";
  const gone = connection.at === "refused" && connection.code === NO_SUCH_ROOM;
  useEffect(() => {
    if (live) rememberPit(slug, role, Date.now());
    if (gone) forgetPit(slug);
  }, [live, gone, slug, role]);
  useEffect(() => {
    const ask = (event: BeforeUnloadEvent): void => {
      if (session.unsaved && !session.view().keepsEdits) event.preventDefault();
    };
    window.addEventListener("beforeunload", ask);
    return () => window.removeEventListener("beforeunload", ask);
  }, [session]);

  if (connection.at === "refused") {
    return <Refused code={connection.code} reason={connection.reason} onRetry={() => session.retry()} />;
  }
  return <Board session={session} slug={slug} role={role} />;
}

function Refused({ code, reason, onRetry }: { code: number; reason: string; onRetry: () => void }) {
  const [, go] = useLocation();
  const { title, detail } = refusalOf(code);
  const retries = worthRetrying(code);
  return (
    <Notice
      title={title}
      code={reason === "" ? String(code) : `${code} · ${reason}`}
      testid="refused"
      actions={
        <>
          {retries ? (
            <Button kind="primary" onClick={onRetry} data-testid="retry">
              Try again
            </Button>
          ) : null}
          <Button kind={retries ? "plain" : "primary"} onClick={() => go("/")}>
            Go to the start
          </Button>
        </>
      }
    >
      <p role="alert">{detail}</p>
    </Notice>
  );
}
