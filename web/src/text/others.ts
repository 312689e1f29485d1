/** Where others are in the text: their selections tinted, their cursors with a name, over the text. */

import { EditorSelection, StateEffect, StateField, type Extension } from "@codemirror/state";
import { EditorView, layer, RectangleMarker, type LayerMarker } from "@codemirror/view";
import type { Cursor } from "@thewell/client/text";
import { cleanColor, cleanName, readableOn } from "../room/identity";

export const showOthers = StateEffect.define<readonly Cursor[]>();

const others = StateField.define<readonly Cursor[]>({
  create: () => [],
  update(cursors, transaction) {
    for (const effect of transaction.effects) if (effect.is(showOthers)) return effect.value;
    if (!transaction.docChanged) return cursors;
    return cursors.map((cursor) => {
      if (cursor.selection === undefined) return cursor;
      const { anchor, head } = cursor.selection;
      return { ...cursor, selection: { anchor: transaction.changes.mapPos(anchor), head: transaction.changes.mapPos(head) } };
    });
  },
});

/** A name that begins so near to the right edge is written to the left, in CSS pixels. */
const NAME_ROOM_PX = 150;

/** A rectangle in somebody's colour. */
class Tinted implements LayerMarker {
  constructor(
    private readonly rectangle: RectangleMarker,
    private readonly color: string,
    private readonly name: string | null,
    private readonly side: "left" | "right" = "right",
  ) {}

  eq(other: LayerMarker): boolean {
    return other instanceof Tinted && other.rectangle.eq(this.rectangle) && other.color === this.color && other.name === this.name && other.side === this.side;
  }

  draw(): HTMLElement {
    const element = this.rectangle.draw();
    element.style.setProperty("--tint", this.color);
    if (this.name === null) return element;
    element.dataset["testid"] = "remote-cursor";
    const label = document.createElement("span");
    label.className = "cm-other-name";
    label.dataset["side"] = this.side;
    label.textContent = this.name;
    label.style.color = readableOn(this.color);
    element.append(label);
    return element;
  }
}

function marks(view: EditorView, draw: (cursor: Cursor & { selection: { anchor: number; head: number } }, color: string) => readonly LayerMarker[]): LayerMarker[] {
  const { length } = view.state.doc;
  return view.state.field(others).flatMap((cursor) => {
    if (cursor.selection === undefined) return [];
    const [anchor, head] = [Math.min(cursor.selection.anchor, length), Math.min(cursor.selection.head, length)];
    return draw({ ...cursor, selection: { anchor, head } }, cleanColor(cursor.user.color));
  });
}

const selections = layer({
  above: false,
  class: "cm-other-selections",
  update: (update) => update.docChanged || update.startState.field(others) !== update.state.field(others),
  markers: (view) =>
    marks(view, ({ selection: { anchor, head } }, color) =>
      anchor === head ? [] : RectangleMarker.forRange(view, "cm-other-selection", EditorSelection.range(anchor, head)).map((it) => new Tinted(it, color, null)),
    ),
});

const cursors = layer({
  above: true,
  class: "cm-other-cursors",
  update: (update) => update.docChanged || update.startState.field(others) !== update.state.field(others),
  markers: (view) =>
    marks(view, ({ selection: { head }, user }, color) =>
      RectangleMarker.forRange(view, "cm-other-cursor", EditorSelection.cursor(head)).map(
        (it) => new Tinted(it, color, cleanName(user.name) ?? "Someone", it.left > view.scrollDOM.clientWidth - NAME_ROOM_PX ? "left" : "right"),
      ),
    ),
});

const theme = EditorView.baseTheme({
  ".cm-other-selection": { background: "var(--tint)", opacity: "0.25" },
  ".cm-other-cursor": { borderLeft: "2px solid var(--tint)", marginLeft: "-1px" },
  ".cm-other-name": {
    position: "absolute",
    bottom: "100%",
    left: "-2px",
    padding: "0 5px",
    borderRadius: "5px 5px 5px 0",
    background: "var(--tint)",
    font: "550 0.6875rem/1.45 var(--font)",
    whiteSpace: "nowrap",
  },
  ".cm-other-name[data-side=left]": { left: "auto", right: "0", borderRadius: "5px 5px 0 5px" },
});

export const othersInText: Extension = [others, selections, cursors, theme];
