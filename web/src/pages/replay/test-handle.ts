/** `window.__well` on a replay page: for tests, read only. Described in README.md. */

import * as Y from "yjs";
import type { Camera, Size } from "../../ink/geometry";
import { inkColours } from "../../ink/inks";
import { Picture } from "../../ink/picture";
import { paintStill, type Stage } from "../../ink/stage";
import type { Replay } from "../../past/replay";

export interface ReplayHandle {
  /** The document at the moment that is shown. */
  readonly doc: Y.Doc | null;
  readonly seq: number;
  readonly wanted: number;
  /** Whether what is shown is what the handle stands at. */
  readonly settled: boolean;
  readonly camera: Camera;
  /** Draws a document's strokes on a canvas of its own, in CSS pixels of `size` at this screen's ratio. */
  paint(update: Uint8Array, camera: Camera, size: Size): HTMLCanvasElement;
}

export function showReplayHandle(replay: Replay, stage: Stage | null): () => void {
  const handle: ReplayHandle = Object.freeze({
    get doc() {
      return replay.view().doc;
    },
    get seq() {
      return replay.view().seq;
    },
    get wanted() {
      return replay.view().wanted;
    },
    get settled() {
      return replay.settled;
    },
    get camera() {
      return stage?.look ?? { x: 0, y: 0, zoom: 1 };
    },
    paint(update: Uint8Array, camera: Camera, size: Size) {
      const doc = new Y.Doc();
      Y.applyUpdate(doc, update);
      const canvas = document.createElement("canvas");
      canvas.width = Math.round(size.width * devicePixelRatio);
      canvas.height = Math.round(size.height * devicePixelRatio);
      const picture = new Picture(doc, () => undefined);
      paintStill(canvas, picture, camera, devicePixelRatio, inkColours(document.documentElement));
      picture.close();
      return canvas;
    },
  });
  window.__well = handle;
  return () => {
    if (window.__well === handle) delete window.__well;
  };
}
