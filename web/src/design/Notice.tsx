import type { ReactNode } from "react";
import { Mark } from "./Mark";
import styles from "./Notice.module.css";

/** A whole page that says one thing and offers what to do next. */
export function Notice({ title, code, children, actions, testid }: { title: string; code?: string; children: ReactNode; actions: ReactNode; testid: string }) {
  return (
    <main className={styles.page} data-testid={testid}>
      <div className={styles.card}>
        <Mark size={44} />
        <h1>{title}</h1>
        <div className={styles.text}>{children}</div>
        <div className={styles.actions}>{actions}</div>
        {code === undefined ? null : <p className={styles.code}>{code}</p>}
      </div>
    </main>
  );
}
