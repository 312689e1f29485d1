import { useId, useState, type SubmitEvent } from "react";
import { reload, revoke, type Revoked } from "../../api/admin";
import type { Failed } from "../../api/ask";
import { Button } from "../../design/Button";
import styles from "./AdminPage.module.css";
import { sessions } from "./Rooms";

interface DeedProps {
  readonly token: string;
  readonly onFailed: (failed: Failed | null) => void;
}

const KINDS: readonly { readonly what: Revoked; readonly label: string }[] = [
  { what: "jti", label: "the token named (jti)" },
  { what: "sub", label: "all tokens of a person (sub)" },
  { what: "room", label: "all tokens in a room" },
];

/** Takes tokens back, wherever the admin's token reaches. */
export function Revoke({ token, onFailed }: DeedProps) {
  const [what, setWhat] = useState<Revoked>("jti");
  const [value, setValue] = useState("");
  const [done, setDone] = useState("");
  const kind = useId();
  const field = useId();

  async function submit(event: SubmitEvent): Promise<void> {
    event.preventDefault();
    onFailed(null);
    setDone("");
    const answer = await revoke(token, what, value.trim());
    if (!answer.ok) return onFailed(answer);
    setDone(`Revoked; ${sessions(answer.value)}.`);
    setValue("");
  }

  return (
    <form className={styles.card} onSubmit={(event) => void submit(event)} data-testid="revoke">
      <h2>Revoke</h2>
      <label htmlFor={kind}>What</label>
      <select id={kind} value={what} onChange={(event) => setWhat(KINDS.find(({ what }) => what === event.target.value)?.what ?? "jti")} data-testid="revoke-what">
        {KINDS.map(({ what, label }) => (
          <option key={what} value={what}>
            {label}
          </option>
        ))}
      </select>
      <label htmlFor={field}>{what === "room" ? "Its name, as space/name" : "Its name"}</label>
      <div className={styles.fieldRow}>
        <input id={field} value={value} onChange={(event) => setValue(event.target.value)} required autoCapitalize="none" autoComplete="off" spellCheck={false} data-testid="revoke-value" />
        <Button type="submit" data-testid="revoke-go">
          Revoke
        </Button>
      </div>
      <p role="status" className={styles.soft} data-testid="revoke-done">
        {done}
      </p>
    </form>
  );
}

/** Has the server read its configuration again. */
export function Reload({ token, onFailed }: DeedProps) {
  const [state, setState] = useState<"idle" | "reading" | "done">("idle");

  async function go(): Promise<void> {
    onFailed(null);
    setState("reading");
    const answer = await reload(token);
    setState(answer.ok ? "done" : "idle");
    if (!answer.ok) onFailed(answer);
  }

  return (
    <section className={styles.card} aria-labelledby="reload">
      <h2 id="reload">Configuration</h2>
      <p className={styles.soft}>Keys, and who may come in, are read again. Sessions stay; what is not good changes nothing.</p>
      <Button onClick={() => void go()} disabled={state === "reading"} data-testid="reload">
        {state === "reading" ? "Reading…" : "Read it again"}
      </Button>
      <p role="status" className={styles.soft} data-testid="reload-done">
        {state === "done" ? "It has been read again." : ""}
      </p>
    </section>
  );
}
