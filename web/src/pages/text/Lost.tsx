import { useId, useRef, useState } from "react";
import { Button } from "../../design/Button";
import { copyText } from "../../design/copy-text";
import { Icon } from "../../design/Icon";
import type { LostEdits } from "../../text/session";
import styles from "./Lost.module.css";

const COPIED_MS = 1_800;

/** What was written here and is not in the text any more: to be copied, and put away. */
export function Lost({ lost, onPutAway }: { lost: LostEdits; onPutAway: () => void }) {
  const title = useId();
  const field = useRef<HTMLTextAreaElement>(null);
  const [copied, setCopied] = useState(false);

  async function copy(): Promise<void> {
    setCopied(await copyText(lost.text, field.current));
    setTimeout(() => setCopied(false), COPIED_MS);
  }

  return (
    <section className={styles.lost} aria-labelledby={title} data-testid="lost">
      <h2 id={title}>Not saved, and not in the text</h2>
      <p role="alert">
        The server refused an edit ({lost.reason}), and what you wrote after it went with it. This is what you had
        written: copy it, then write it anew, in smaller pieces if it was too large.
      </p>
      <textarea ref={field} readOnly value={lost.text} rows={3} aria-label="What you had written" spellCheck={false} data-testid="lost-text" />
      <div className={styles.actions}>
        <Button kind="primary" onClick={() => void copy()} data-testid="lost-copy">
          <Icon name={copied ? "check" : "copy"} />
          <span aria-live="polite">{copied ? "Copied" : "Copy"}</span>
        </Button>
        <Button onClick={onPutAway} data-testid="lost-put-away">
          Put away
        </Button>
      </div>
    </section>
  );
}
