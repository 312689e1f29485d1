import { useId, useState, type SubmitEvent } from "react";
import { Button } from "../design/Button";
import { readPasted, type RoomName } from "../room/link";
import styles from "./TokenField.module.css";

export interface Pasted {
  readonly token: string;
  /** Where the link leads; null for a token alone. */
  readonly room: RoomName | null;
}

/** A field for another link, or for a token alone. */
export function TokenField({ label, kept = "It stays in this browser.", onToken }: { label: string; kept?: string; onToken: (pasted: Pasted) => void }) {
  const [text, setText] = useState("");
  const [wrong, setWrong] = useState(false);
  const field = useId();
  const hint = useId();

  function submit(event: SubmitEvent): void {
    event.preventDefault();
    const pasted = readPasted(text);
    if (pasted === null) setWrong(true);
    else onToken(pasted);
  }

  return (
    <form className={styles.form} onSubmit={submit} noValidate>
      <label htmlFor={field}>{label}</label>
      <div className={styles.row}>
        <input
          id={field}
          value={text}
          onChange={(event) => {
            setWrong(false);
            setText(event.target.value);
          }}
          autoCapitalize="none"
          autoComplete="off"
          autoCorrect="off"
          spellCheck={false}
          aria-invalid={wrong}
          aria-describedby={hint}
          data-testid="token-field"
        />
        <Button type="submit" data-testid="token-use">
          Use it
        </Button>
      </div>
      <p id={hint} className={styles.hint} data-wrong={wrong} role={wrong ? "alert" : undefined} data-testid="token-hint">
        {wrong ? "There is no token in that. Copy the whole link, to its very end." : kept}
      </p>
    </form>
  );
}
