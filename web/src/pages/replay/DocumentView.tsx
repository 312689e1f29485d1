/** What a room that is no drawing holds at a moment: its text, or its values as a tree. */

import { useEffect, useMemo, useRef, useState } from "react";
import { changedPart, contentKind, rootsOf, type ContentKind, type Root } from "../../past/content";
import type { Replay, ReplayView } from "../../past/replay";
import styles from "./DocumentView.module.css";
import { showReplayHandle } from "./test-handle";

/** Children of one value beyond this are counted instead of shown. */
const CHILDREN_MAX = 200;
const OPEN_DEPTH = 3;

export function DocumentView({ replay, view, kind }: { replay: Replay; view: ReplayView; kind: ContentKind | null }) {
  const { doc, seq } = view;
  useEffect(() => showReplayHandle(replay, null), [replay]);
  // The document grows in place: what it holds changes with the Seq.
  // eslint-disable-next-line react-hooks/exhaustive-deps
  const roots = useMemo(() => (doc === null ? [] : rootsOf(doc)), [doc, seq]);
  return (
    <div className={styles.scroll} tabIndex={0} role="region" aria-label="The document at this moment" data-testid="document" data-kind={kind ?? "empty"}>
      {roots.length === 0 ? <p className={styles.empty}>Nothing is written at this moment.</p> : null}
      <div className={styles.sheet}>
        {roots.map((root) => (
          <section key={root.name} className={styles.root}>
            {roots.length > 1 || kind === "tree" ? <h2>{root.name === "" ? "(no name)" : root.name}</h2> : null}
            {root.is === "text" || root.is === "xml" ? <Text root={root} seq={seq} /> : <Tree value={root.value} depth={0} />}
          </section>
        ))}
      </div>
    </div>
  );
}

/** The kind of content that a document has, or had when it last had any. */
export function useContentKind(view: ReplayView): ContentKind | null {
  const { doc, seq } = view;
  // eslint-disable-next-line react-hooks/exhaustive-deps -- the document grows in place
  const now = useMemo(() => (doc === null ? null : contentKind(doc)), [doc, seq]);
  const [last, setLast] = useState(now);
  if (now !== null && now !== last) setLast(now);
  return now ?? last;
}

/** What the last step has written stands out. */
function Text({ root, seq }: { root: Root & { is: "text" | "xml" }; seq: number }) {
  const { text } = root;
  const [shown, setShown] = useState({ seq, text, before: text });
  if (shown.text !== text) setShown({ seq, text, before: shown.text });
  const { from, to } = shown.text === text ? changedPart(shown.before, text) : { from: 0, to: 0 };
  const changed = useRef<HTMLElement>(null);
  useEffect(() => {
    changed.current?.scrollIntoView({ block: "nearest" });
  }, [text]);
  return (
    <pre className={root.is === "xml" ? styles.code : styles.text} data-testid="text">
      {text.slice(0, from)}
      {to > from ? (
        <mark ref={changed} className={styles.changed}>
          {text.slice(from, to)}
        </mark>
      ) : null}
      {text.slice(to)}
    </pre>
  );
}

function Tree({ value, depth }: { value: unknown; depth: number }) {
  if (typeof value !== "object" || value === null) return <code className={styles.value} data-type={value === null ? "null" : typeof value}>{written(value)}</code>;
  if (value instanceof Uint8Array) return <code className={styles.value}>{value.length} bytes</code>;
  const list = Array.isArray(value);
  const children = Object.entries(value as Record<string, unknown>);
  if (children.length === 0) return <code className={styles.value}>{list ? "[ ]" : "{ }"}</code>;
  return (
    <details className={styles.tree} open={depth < OPEN_DEPTH}>
      <summary>
        {list ? `[ ${children.length} ]` : `{ ${children.length} }`}
      </summary>
      <ul>
        {children.slice(0, CHILDREN_MAX).map(([key, child]) => (
          <li key={key}>
            <span className={styles.key}>{key}</span> <Tree value={child} depth={depth + 1} />
          </li>
        ))}
        {children.length > CHILDREN_MAX ? <li className={styles.key}>and {(children.length - CHILDREN_MAX).toLocaleString()} more</li> : null}
      </ul>
    </details>
  );
}

function written(value: unknown): string {
  return value === undefined ? "undefined" : JSON.stringify(value);
}
