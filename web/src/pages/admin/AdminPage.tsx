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
import { readClaims, type TokenRole } from "../../room/tokens";
import styles from "./AdminPage.module.css";
import { Revoke, Reload } from "./Deeds";
import { Rooms } from "./Rooms";
import { Usage } from "./Usage";

const WHOSE: Readonly<Record<TokenRole, string>> = { viewer: "a viewer's", editor: "an editor's", creator: "a creator's", admin: "an admin's" };
/** The command that makes an admin's token, and where its lines may end. */
const MINT = ["well token mint", "--key well-data/auth.secret", "--room '*/*'", "--role admin", "--ttl 1h"];

export default function AdminPage() {
  const [token, setToken] = useState(adminToken);
  const [failed, setFailed] = useState<Failed | null>(null);
  const [nowMs] = useState(() => Date.now());
  usePageTitle("Admin");
  const claims = token === null ? null : readClaims(token);
  // What a token says of itself; whether it is believed is for the server to say.
  const isAdmin = claims?.role === "admin";
  const isRefused = failed !== null && asksForToken(kindOfProblem(failed.status, failed.problem.code));

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
      {token === null || isAdmin ? null : (
        <p role="alert" className={styles.problem} data-testid="admin-not">
          <strong>Not an admin&apos;s token:</strong> {claims === null ? "it does not say that it is one" : `it is ${WHOSE[claims.role]}`}, and nothing here can be seen or done with it.
        </p>
      )}
      {!isAdmin || isRefused ? (
        <section className={styles.card}>
          <p>This page takes an admin&apos;s token. It is kept until this tab is closed. Make one with the key that the server&apos;s tokens are signed with; a server that was given none has its own in <code>auth.secret</code> in its data folder:</p>
          <pre className={styles.command}>
            {MINT.map((part) => (
              <span key={part}>{part} </span>
            ))}
          </pre>
          <TokenField key={token} label="An admin's token" kept="It is kept until this tab is closed." onToken={({ token }) => enter(token)} />
        </section>
      ) : null}
      {token === null || !isAdmin ? null : (
        <>
          <Rooms key={token} token={token} onFailed={setFailed} />
          <Usage key={`${token} usage`} token={token} onFailed={setFailed} />
          <div className={styles.deeds}>
            <Revoke token={token} onFailed={setFailed} />
            {claims.rooms.includes("*/*") ? <Reload token={token} onFailed={setFailed} /> : null}
          </div>
        </>
      )}
    </main>
  );
}
