/**
 * A room's past: the picture at a moment, and the scrubber below it. Only `past/` knows how a moment
 * is made; this page shows it and passes on what hands and keys do.
 */

import { useEffect, useState, useSyncExternalStore } from "react";
import { useLocation } from "wouter";
import { NOT_FOUND, type Room } from "../../api/past";
import { Button } from "../../design/Button";
import { Notice } from "../../design/Notice";
import { usePageTitle } from "../../design/page-title";
import { Replay } from "../../past/replay";
import type { Role } from "../../room/slug";
import { ReplayBoard } from "./ReplayBoard";

export default function ReplayPage({ space, name, role }: Room & { role: Role }) {
  const [replay, setReplay] = useState<Replay | null>(null);
  usePageTitle(`${name}, its history`);
  useEffect(() => {
    const opened = new Replay({ space, name }, firstMoment());
    // eslint-disable-next-line react-hooks/set-state-in-effect -- it must be ended, so an effect owns it
    setReplay(opened);
    return () => opened.end();
  }, [space, name]);
  return replay === null ? null : <OpenedReplay replay={replay} role={role} />;
}

function OpenedReplay({ replay, role }: { replay: Replay; role: Role }) {
  const view = useSyncExternalStore(replay.subscribe, replay.view);
  const [, go] = useLocation();
  const { phase } = view;
  if (phase.at !== "failed") return <ReplayBoard replay={replay} view={view} role={role} />;
  const { space, name } = replay.room;
  const missing = phase.status === NOT_FOUND;
  return (
    <Notice
      title={missing ? "There is no such room" : phase.problem.title}
      code={`${space}/${name}`}
      testid="replay-failed"
      actions={
        <>
          {missing ? null : (
            <Button kind="primary" onClick={() => replay.retry()} data-testid="retry">
              Try again
            </Button>
          )}
          <Button kind={missing ? "primary" : "plain"} onClick={() => go("/")}>
            Go to the start
          </Button>
        </>
      }
    >
      <p role="alert">{missing ? "Nothing was ever written in it, or it was deleted. Check the address." : phase.problem.detail}</p>
    </Notice>
  );
}

/** The moment that the page's address names. */
function firstMoment(): { seq: number | null; at: string | null } {
  const query = new URLSearchParams(location.search);
  const seq = query.get("seq");
  return { seq: seq !== null && /^\d{1,15}$/.test(seq) ? Number(seq) : null, at: query.get("at") };
}
