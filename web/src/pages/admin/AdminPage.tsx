/** For whoever looks after the server: its rooms, and what takes an admin's token. */

import { useState } from "react";
import { Link } from "wouter";
import { TokenField } from "../../access/TokenField";
import type { Failed } from "../../api/ask";
import { Button } from "../../design/Button";
import { Mark } from "../../design/Mark";
import { waitText } from "../../design/countdown";
import { usePageTitle } from "../../design/page-title";
import { timeLeft } from "../../design/time-ago";
import { adminToken, keepAdminToken } from "../../room/admin-token";
import { asksForToken, kindOfProblem, waitOfProblem } from "../../room/refusal";
import { readClaims } from "../../room/tokens";
import styles from "./AdminPage.module.css";
import { Revoke, Reload } from "./Deeds";
import { Rooms } from "./Rooms";

export default function AdminPage() {
  const [token, setToken] = useState(adminToken);
  const [failed, setFailed] = useState<Failed | null>(null);
  const [nowMs] = useState(() => Date.now());
  usePageTitle("Admin");
  const claims = token === null ? null : readClaims(token);

  function enter(token: string | null): void {
    keepAdminToken(token);
    setToken(token);
    setFailed(null);
  }

  return (
    <main className={styles.page} data-testid="admin" data-entered={token !== null}>
      <header className={styles.head}>
        <Link href="/" className={styles.home} aria-label="The Well, start page">
          <Mark size={28} />
        </Link>
        <h1>Admin</h1>
        <Link href="/observatory" data-testid="to-observatory">
          Observatory
        </Link>
        {token === null ? null : (
          <>
            <p className={styles.who} data-testid="admin-who">
              {claims === null ? "A token" : `${claims.role} of ${claims.rooms.join(", ")}, ends ${timeLeft(claims.expiresAtMs, nowMs)}`}
            </p>
            <Button onClick={() => enter(null)} data-testid="admin-leave">
              Leave
            </Button>
          </>
        )}
      </header>
      {failed === null ? null : (
        <p role="alert" className={styles.problem} data-testid="admin-problem" data-code={failed.problem.code ?? undefined}>
          <strong>{failed.problem.title}:</strong> {failed.problem.detail}
          {waitOfProblem(failed.problem) === null ? null : ` It may work again in ${waitText(waitOfProblem(failed.problem) ?? 0)}.`}
        </p>
      )}
      {token === null || (failed !== null && asksForToken(kindOfProblem(failed.status, failed.problem.code))) ? (
        <section className={styles.card}>
          <p>This page takes an admin&apos;s token. It is kept until this tab is closed. Make one with the key that the server&apos;s tokens are signed with; a server that was given none has its own in <code>auth.secret</code> in its data folder:</p>
          <pre className={styles.command}>well token mint --key well-data/auth.secret --room &apos;*/*&apos; --role admin --ttl 1h</pre>
          <TokenField key={token} label="An admin's token" onToken={({ token }) => enter(token)} />
        </section>
      ) : null}
      {token === null ? null : (
        <>
          <Rooms key={token} token={token} onFailed={setFailed} />
          <div className={styles.deeds}>
            <Revoke token={token} onFailed={setFailed} />
            <Reload token={token} onFailed={setFailed} />
          </div>
        </>
      )}
    </main>
  );
}
