/**
 * CodeMirror bound to a text room: what is typed becomes edits of the room's text, and what others do
 * becomes changes of the editor. Both count UTF-16 units, and only a line feed ends a line, so that
 * positions are the same on both sides and line endings stay as they are.
 *
 * The editor lives in a shadow root: there its styles come as constructed sheets, which the page's
 * Content-Security-Policy allows.
 */

import { defaultKeymap } from "@codemirror/commands";
import { Annotation, ChangeSet, Compartment, EditorState, Text, Transaction, type Extension } from "@codemirror/state";
import { drawSelection, EditorView, highlightActiveLine, keymap, lineNumbers, placeholder, type ViewUpdate } from "@codemirror/view";
import { difference, type TextRoom, type User } from "@thewell/client/text";
import { othersInText, showOthers } from "./others";

/** Where the cursor is, lines and columns from 1, and how much is selected. */
export interface PlaceView {
  readonly line: number;
  readonly column: number;
  readonly selected: number;
  readonly length: number;
  readonly canUndo: boolean;
  readonly canRedo: boolean;
}

export interface EditorOptions {
  readonly host: HTMLElement;
  readonly room: TextRoom;
  readonly me: User;
  readonly mayWrite: boolean;
  readonly onPlace: (place: PlaceView) => void;
  readonly onEdit: () => void;
}

type Changes = readonly { readonly at: number; readonly deleted: number; readonly inserted: string }[];

/** This change is in the room's text already. */
const fromRoom = Annotation.define<true>();
/** A cursor is published at most so often. */
const PUBLISH_MS = 40;
const LONE_SURROGATE = /\p{Cs}/u;

export class TextEditor {
  readonly view: EditorView;
  private readonly writing = new Compartment();
  private readonly endings: (() => void)[];
  private timer: ReturnType<typeof setTimeout> | undefined;
  private refreshing = false;
  private me: User;

  constructor(private readonly options: EditorOptions) {
    const { host, room, me, mayWrite } = options;
    this.me = me;
    const root = host.shadowRoot ?? host.attachShadow({ mode: "open" });
    this.view = new EditorView({
      parent: root,
      root,
      state: EditorState.create({ doc: textOf(room.toString()), extensions: [this.extensions(), this.writing.of(mode(mayWrite))] }),
    });
    this.endings = [room.on("change", ({ changes }) => this.follow(changes)), room.on("cursors", () => this.refreshOthers())];
    this.refreshOthers();
    this.publish();
    this.tellPlace();
  }

  focus(): void {
    this.view.focus();
  }

  allow(mayWrite: boolean): void {
    this.view.dispatch({ effects: this.writing.reconfigure(mode(mayWrite)) });
  }

  rename(me: User): void {
    this.me = me;
    this.publish();
  }

  undo(): boolean {
    return this.again(() => this.options.room.undo());
  }

  redo(): boolean {
    return this.again(() => this.options.room.redo());
  }

  close(): void {
    clearTimeout(this.timer);
    for (const end of this.endings) end();
    this.view.destroy();
  }

  private extensions(): Extension {
    return [
      EditorState.lineSeparator.of("\n"),
      EditorState.allowMultipleSelections.of(true),
      lineNumbers(),
      highlightActiveLine(),
      drawSelection(),
      EditorView.lineWrapping,
      EditorView.clipboardInputFilter.of((text) => text.replace(/\r\n?/g, "\n")),
      // A viewer's text takes no input, and is scrolled with keys nevertheless.
      EditorView.contentAttributes.of({ "aria-label": "Text", autocapitalize: "sentences", spellcheck: "true", tabindex: "0" }),
      placeholder("Write something. Whoever has this page's address writes with you."),
      keymap.of([
        { key: "Mod-z", run: () => this.undo(), preventDefault: true },
        { key: "Mod-y", run: () => this.redo(), preventDefault: true },
        { key: "Mod-Shift-z", run: () => this.redo(), preventDefault: true },
        ...defaultKeymap,
      ]),
      EditorView.updateListener.of((update) => this.updated(update)),
      othersInText,
      look,
    ];
  }

  private updated(update: ViewUpdate): void {
    for (const transaction of update.transactions) {
      if (transaction.docChanged && transaction.annotation(fromRoom) !== true) this.edit(transaction);
    }
    if (update.docChanged || update.selectionSet) {
      this.tellPlace();
      this.publishSoon();
    }
    if (update.docChanged) this.refreshOthers();
  }

  /** What was typed, into the room's text. */
  private edit(transaction: Transaction): void {
    const { room, onEdit } = this.options;
    let same = true;
    try {
      transaction.changes.iterChanges((from, to, at, _end, inserted) => {
        const words = inserted.toString();
        same &&= !LONE_SURROGATE.test(words);
        room.replace(at, to - from, words);
      });
    } catch {
      // It would cut a character, or the room takes no more: the editor shows what the room has.
      same = false;
    }
    if (!same) queueMicrotask(() => this.reconcile());
    onEdit();
  }

  /** What others did, into the editor. */
  private follow(changes: Changes): void {
    let { length } = this.view.state.doc;
    let all = ChangeSet.empty(length);
    for (const { at, deleted, inserted } of changes) {
      all = all.compose(ChangeSet.of({ from: at, to: at + deleted, insert: textOf(inserted) }, length));
      length += inserted.length - deleted;
    }
    this.view.dispatch({ changes: all, annotations: [fromRoom.of(true), Transaction.addToHistory.of(false), Transaction.remote.of(true)], filter: false });
  }

  private reconcile(): void {
    const change = difference(this.view.state.doc.toString(), this.options.room.toString());
    if (change !== undefined) this.follow([change]);
  }

  private again(take: () => unknown): boolean {
    try {
      if (take() !== undefined) this.options.onEdit();
    } catch {
      this.reconcile();
    }
    this.tellPlace();
    return true;
  }

  /** Once for everything that happens in one turn, and never while the editor is being updated. */
  private refreshOthers(): void {
    if (this.refreshing) return;
    this.refreshing = true;
    queueMicrotask(() => {
      this.refreshing = false;
      if (this.view.dom.isConnected) this.view.dispatch({ effects: showOthers.of(this.options.room.cursors()) });
    });
  }

  private tellPlace(): void {
    const { state } = this.view;
    const { head, from, to } = state.selection.main;
    const line = state.doc.lineAt(head);
    const { canUndo, canRedo } = this.options.room.text;
    this.options.onPlace({ line: line.number, column: head - line.from + 1, selected: to - from, length: state.doc.length, canUndo, canRedo });
  }

  private publishSoon(): void {
    this.timer ??= setTimeout(() => this.publish(), PUBLISH_MS);
  }

  private publish(): void {
    clearTimeout(this.timer);
    this.timer = undefined;
    if (!this.options.mayWrite) return;
    const { anchor, head } = this.view.state.selection.main;
    this.options.room.setCursor(this.me, { anchor, head });
  }
}

function mode(mayWrite: boolean): Extension {
  return [EditorState.readOnly.of(!mayWrite), EditorView.editable.of(mayWrite)];
}

/** Only a line feed ends a line. */
function textOf(text: string): Text {
  return Text.of(text.split("\n"));
}

const look = EditorView.theme({
  "&": { height: "100%", background: "var(--surface)", color: "var(--text)", fontSize: "0.9375rem" },
  "&.cm-focused": { outline: "none" },
  ".cm-scroller": { fontFamily: "var(--font-code)", lineHeight: "1.6" },
  ".cm-content": { padding: "24px 0 40vh", caretColor: "var(--accent)" },
  ".cm-line": { padding: "0 16px 0 10px" },
  ".cm-gutters": { background: "var(--surface)", color: "var(--text-soft)", border: "none", paddingLeft: "8px" },
  ".cm-activeLine": { background: "color-mix(in srgb, var(--accent) 6%, transparent)" },
  ".cm-activeLineGutter": { background: "transparent", color: "var(--text)" },
  ".cm-cursor, .cm-dropCursor": { borderLeft: "2px solid var(--accent)" },
  "&.cm-focused > .cm-scroller > .cm-selectionLayer .cm-selectionBackground, .cm-selectionBackground": {
    background: "color-mix(in srgb, var(--accent) 25%, transparent)",
  },
  ".cm-placeholder": { color: "var(--text-soft)" },
});
