/**
 * A pit: the creator's canvas and the viewer's mirror. The role decides what is offered here, and
 * nothing else: that a viewer cannot write is the server's doing.
 */

import { useEffect, useState } from "react";
import { useLocation } from "wouter";
import { pitIsMissing } from "../../api/pits";
import { Button } from "../../design/Button";
import { Notice } from "../../design/Notice";
import { usePageTitle } from "../../design/page-title";
import { hasCopy } from "../../room/copies";
import { NO_SUCH_ROOM, refusalOf, worthRetrying } from "../../room/connection";
import { forgetPit, rememberPit } from "../../room/recent-pits";
import type { RoomSession } from "../../room/session";
import type { Role } from "../../room/slug";
import { useRoomSession, useRoomView } from "../../room/use-room";
import { Board } from "./Board";
import { MissingPit } from "./MissingPit";

export interface PitPageProps {
  readonly slug: string;
  readonly role: Role;
  readonly query: string;
}

export default function PitPage({ slug, role, query }: PitPageProps) {
  const [found, setFound] = useFound(slug);
  usePageTitle(slug);
  if (found === "looking") return null;
  if (found === "missing") return <MissingPit slug={slug} role={role} onOpen={() => setFound("there")} />;
  return <OpenedPit slug={slug} role={role} query={query} />;
}

function OpenedPit({ slug, role, query }: PitPageProps) {
  const session = useRoomSession({ mount: "/pit", space: "pit", name: slug, role, query });
  return session === null ? null : <JoinedPit session={session} slug={slug} role={role} />;
}

type Found = "looking" | "there" | "missing";

/** A pit that this device has a copy of opens at once: it may be the only place where it is. */
function useFound(slug: string): [Found, (found: Found) => void] {
  const [found, setFound] = useState<Found>(() => (hasCopy(`pit/${slug}`) ? "there" : "looking"));
  useEffect(() => {
    if (found !== "looking") return;
    let left = false;
    void pitIsMissing(slug).then((missing) => {
      if (!left) setFound(missing ? "missing" : "there");
    });
    return () => {
      left = true;
    };
  }, [slug, found]);
  return [found, setFound];
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
