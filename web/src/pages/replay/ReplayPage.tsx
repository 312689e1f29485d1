/**
 * A room's past: the picture at a moment, and the scrubber below it. Only `past/` knows how a moment
 * is made; this page shows it and passes on what hands and keys do.
 */

import { useEffect, useState, useSyncExternalStore } from "react";
import { Refused } from "../../access/Refused";
import { tokenOf } from "../../api/ask";
import type { Room } from "../../api/past";
import { roleHere } from "../../api/rooms";
import { usePageTitle } from "../../design/page-title";
import { addressedMoment } from "../../past/moment";
import { Replay } from "../../past/replay";
import { kindOfProblem, waitOfProblem } from "../../room/refusal";
import { lowerRole, type Role } from "../../room/slug";
import { ReplayBoard } from "./ReplayBoard";

export default function ReplayPage({ space, name, role }: Room & { role: Role }) {
  const [replay, setReplay] = useState<Replay | null>(null);
  usePageTitle(`${name}, its history`);
  useEffect(() => {
    const opened = new Replay({ space, name }, addressedMoment(new URLSearchParams(location.search)));
    // eslint-disable-next-line react-hooks/set-state-in-effect -- it must be ended, so an effect owns it
    setReplay(opened);
    return () => opened.end();
  }, [space, name]);
  return replay === null ? null : <OpenedReplay replay={replay} role={role} />;
}

function OpenedReplay({ replay, role }: { replay: Replay; role: Role }) {
  const view = useSyncExternalStore(replay.subscribe, replay.view);
  const most = useMost(replay.room);
  const { phase } = view;
  if (phase.at !== "failed") return <ReplayBoard replay={replay} view={view} role={lowerRole(role, most)} mayRestore={role !== "viewer" && most === "creator"} />;
  const { space, name } = replay.room;
  const { problem, status } = phase;
  return (
    <Refused
      room={replay.room}
      thing="room"
      kind={kindOfProblem(status, problem.code)}
      said={`${space}/${name} · ${problem.detail ?? problem.title}`}
      waitS={waitOfProblem(problem)}
      unstored="none"
      onAgain={() => replay.retry()}
      testid="replay-failed"
    />
  );
}

/** The most that the page may be in the room; a creator as long as the server has not said less. */
function useMost({ space, name }: Room): Role {
  const [most, setMost] = useState<Role>("creator");
  useEffect(() => {
    let left = false;
    void roleHere({ space, name }, tokenOf(space, name)).then((here) => {
      if (!left && here !== "missing" && here !== "unknown") setMost(here);
    });
    return () => {
      left = true;
    };
  }, [space, name]);
  return most;
}
