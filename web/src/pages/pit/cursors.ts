/** Others' cursors as elements over the canvas, moved by transform alone and outside React. */

import type { Awareness } from "y-protocols/awareness";
import { toScreen, type Camera } from "../../ink/geometry";
import { readableOn } from "../../room/identity";
import { peersOf, type Peer } from "../../room/presence";
import styles from "./cursors.module.css";

/** More cursors than this are not shown: they would hide the drawing. */
const CURSORS_MAX = 60;
/** About as wide as a letter of a name. */
const LETTER_PX = 7;

interface Shown {
  readonly element: HTMLElement;
  readonly label: HTMLElement;
  peer: Peer;
}

export class Cursors {
  private readonly shown = new Map<number, Shown>();
  private camera: Camera = { x: 0, y: 0, zoom: 1 };

  constructor(
    private readonly layer: HTMLElement,
    private readonly awareness: Awareness,
  ) {
    awareness.on("change", this.refresh);
    this.refresh();
  }

  close(): void {
    this.awareness.off("change", this.refresh);
    this.layer.replaceChildren();
  }

  look(camera: Camera): void {
    if (camera === this.camera) return;
    this.camera = camera;
    for (const cursor of this.shown.values()) this.place(cursor, true);
  }

  private refresh = (): void => {
    const present = peersOf(this.awareness).filter((peer) => peer.cursor !== null && peer.role === "creator").slice(0, CURSORS_MAX);
    const clients = new Set(present.map(({ client }) => client));
    for (const [client, { element }] of this.shown) {
      if (clients.has(client)) continue;
      element.remove();
      this.shown.delete(client);
    }
    for (const peer of present) {
      const known = this.shown.get(peer.client);
      const cursor = known ?? this.add(peer);
      cursor.peer = peer;
      if (cursor.label.textContent !== peer.name) cursor.label.textContent = peer.name;
      cursor.element.style.setProperty("--cursor", peer.color);
      cursor.label.style.color = readableOn(peer.color);
      cursor.element.dataset["drawing"] = String(peer.drawing);
      this.place(cursor, known === undefined);
    }
  };

  private add(peer: Peer): Shown {
    const element = document.createElement("div");
    element.className = styles.cursor ?? "";
    element.dataset["testid"] = "cursor";
    element.append(arrow());
    const label = document.createElement("span");
    label.className = styles.label ?? "";
    element.append(label);
    this.layer.append(element);
    const cursor = { element, label, peer };
    this.shown.set(peer.client, cursor);
    return cursor;
  }

  /** Between two reports a cursor glides; with the camera it moves at once. */
  private place({ element, peer }: Shown, atOnce: boolean): void {
    if (peer.cursor === null) return;
    const { x, y } = toScreen(this.camera, peer.cursor);
    // A name that would be cut at the right edge stands to the left. Its width is guessed: measuring is slow.
    element.dataset["side"] = x + 24 + peer.name.length * LETTER_PX > this.layer.clientWidth ? "left" : "right";
    element.style.transitionDuration = atOnce ? "0s" : "";
    element.style.transform = `translate(${x.toFixed(1)}px, ${y.toFixed(1)}px)`;
  }
}

function arrow(): SVGElement {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  svg.setAttribute("viewBox", "0 0 18 18");
  svg.setAttribute("width", "18");
  svg.setAttribute("height", "18");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(namespace, "path");
  path.setAttribute("d", "M1.5 1.5l5.2 14 2.3-6.2 6.3-2.3z");
  svg.append(path);
  return svg;
}
