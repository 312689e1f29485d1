/** `/observatory`: the Well at work, for whoever runs it. Only `observatory/` knows how it is known. */

import { useEffect, useState, useSyncExternalStore } from "react";
import { Link } from "wouter";
import { TokenField } from "../../access/TokenField";
import { Button } from "../../design/Button";
import { Mark } from "../../design/Mark";
import { usePageTitle } from "../../design/page-title";
import { Observatory } from "../../observatory/observatory";
import { adminToken, keepAdminToken } from "../../room/admin-token";
import { Board } from "./Board";
import styles from "./ObservatoryPage.module.css";

export default function ObservatoryPage() {
  const [token, setToken] = useState(adminToken);
  const [observatory, setObservatory] = useState<Observatory | null>(null);
  usePageTitle("Observatory");
  useEffect(() => {
    const opened = new Observatory(token);
    // eslint-disable-next-line react-hooks/set-state-in-effect -- it must be ended, so an effect owns it
    setObservatory(opened);
    return () => opened.end();
  }, [token]);

  function enter(token: string | null): void {
    keepAdminToken(token);
    setToken(token);
  }

  return (
    <main className={styles.page} data-testid="observatory">
      <header className={styles.head}>
        <Link href="/" className={styles.home} aria-label="The Well, start page">
          <Mark size={28} />
        </Link>
        <h1>Observatory</h1>
        <Link href="/admin" className={styles.link}>
          Admin
        </Link>
        {token === null ? null : (
          <Button onClick={() => enter(null)} data-testid="observatory-leave">
            Leave
          </Button>
        )}
      </header>
      {observatory === null ? null : <Opened observatory={observatory} onToken={enter} />}
    </main>
  );
}

function Opened({ observatory, onToken }: { observatory: Observatory; onToken: (token: string) => void }) {
  const view = useSyncExternalStore(observatory.subscribe, observatory.view);
  if (view.link.at !== "refused") return <Board observatory={observatory} view={view} />;
  const { problem } = view.link.failed;
  return (
    <>
      <p role="alert" className={styles.problem} data-testid="observatory-problem" data-code={problem.code ?? undefined}>
        <strong>{problem.title}:</strong> {problem.detail}
      </p>
      <section className={styles.card}>
        <p>This Well is not open to everyone, and neither is its Observatory: it takes an observer&apos;s token, or an admin&apos;s, for all rooms. Make one with the key that the server&apos;s tokens are signed with; a server that was given none has its own in <code>auth.secret</code> in its data folder:</p>
        <pre className={styles.command}>well token mint --key well-data/auth.secret --room &apos;*/*&apos; --role observer --ttl 8h</pre>
        <TokenField key={observatory.token} label="An observer's token" kept="It is kept until this tab is closed." onToken={({ token }) => onToken(token)} />
      </section>
    </>
  );
}
