import { useEffect, useRef, useState } from "react";
import * as Y from "yjs";
import { Button } from "../../design/Button";
import { Icon } from "../../design/Icon";
import { Hand } from "../../ink/hand";
import { Stage, type StageView } from "../../ink/stage";
import type { Replay } from "../../past/replay";
import styles from "./PitPicture.module.css";
import { showReplayHandle } from "./test-handle";

/** A pit at a moment, drawn as the pit itself draws it. The camera stays where it is between moments. */
export function PitPicture({ replay }: { replay: Replay }) {
  const host = useRef<HTMLDivElement>(null);
  const lower = useRef<HTMLCanvasElement>(null);
  const upper = useRef<HTMLCanvasElement>(null);
  const mounted = useRef<Stage | null>(null);
  const [stageView, setStageView] = useState<StageView>({ zoom: 1, strokes: 0, following: true });

  useEffect(() => {
    if (host.current === null || lower.current === null || upper.current === null) return;
    let doc = replay.view().doc ?? new Y.Doc();
    const stage = new Stage({
      host: host.current,
      lower: lower.current,
      upper: upper.current,
      doc,
      following: true,
      still: true,
      insets: () => ({ top: 24, bottom: 24, side: 24 }),
      onView: setStageView,
      onCamera: () => undefined,
    });
    const hand = new Hand(host.current, stage, {
      mayDraw: false,
      erasing: () => false,
      drawBegin: nothing,
      drawMove: nothing,
      drawEnd: nothing,
      drawCancel: nothing,
      eraseBegin: nothing,
      eraseMove: nothing,
      eraseEnd: nothing,
      pointAt: nothing,
    });
    stage.arrive();
    const refresh = (): void => {
      const next = replay.view().doc;
      if (next === null || next === doc) return;
      doc = next;
      stage.show(next);
    };
    const leave = replay.subscribe(refresh);
    const hideHandle = showReplayHandle(replay, stage);
    mounted.current = stage;
    return () => {
      mounted.current = null;
      hideHandle();
      leave();
      hand.close();
      stage.close();
    };
  }, [replay]);

  return (
    <div className={styles.picture}>
      <div ref={host} className={styles.paper} role="img" aria-label={`The drawing at this moment: ${stageView.strokes} strokes.`} data-testid="stage" data-strokes={stageView.strokes}>
        <canvas ref={lower} className={styles.canvas} data-testid="canvas" />
        <canvas ref={upper} className={styles.canvasAbove} />
      </div>
      {stageView.strokes === 0 ? <p className={styles.empty}>Nothing is drawn at this moment.</p> : null}
      <Button className={styles.fit} aria-pressed={stageView.following} aria-label={stageView.following ? "Whole drawing" : "Show all"} onClick={() => mounted.current?.setFollowing(!stageView.following)} title="Keep the whole drawing in sight" data-testid="fit">
        <Icon name="fit" />
        <span>{stageView.following ? "Whole drawing" : "Show all"}</span>
      </Button>
    </div>
  );
}

function nothing(): void {
  // A moment of the past is looked at, and nothing else.
}
