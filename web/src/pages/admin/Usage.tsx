import { useEffect, useState } from "react";
import { ACCOUNTS_PER_PAGE, listUsage, type Account, type UsagePage } from "../../api/admin";
import type { Failed } from "../../api/ask";
import { share, withUnit } from "../../design/units";
import { Button } from "../../design/Button";
import styles from "./AdminPage.module.css";
import { Pager } from "./Pager";

/** What each space and each tenant has written this month, beside what they may. */
export function Usage({ token, onFailed }: { token: string; onFailed: (failed: Failed | null) => void }) {
  const [path, setPath] = useState<readonly (string | null)[]>([null]);
  const [shown, setShown] = useState<UsagePage | null>(null);
  const [looks, setLooks] = useState(0);
  const after = path.at(-1) ?? null;

  useEffect(() => {
    let left = false;
    void listUsage(token, after).then((answer) => {
      if (left) return;
      if (answer.ok) setShown(answer.value);
      else onFailed(answer);
    });
    return () => {
      left = true;
    };
  }, [token, after, looks, onFailed]);

  const accounts = shown?.accounts ?? [];
  return (
    <section className={styles.card} aria-labelledby="usage" data-testid="admin-usage">
      <div className={styles.row}>
        <h2 id="usage">This month</h2>
        <Button onClick={() => setLooks(looks + 1)} data-testid="usage-refresh">
          Look again
        </Button>
      </div>
      <p className={styles.soft}>{shown === null ? "…" : accounts.length === 0 ? "This token is for all rooms of no space." : `Written in ${monthText(shown.month)}. Counting begins anew on ${dayText(shown.resetsAtMs)} (UTC).`}</p>
      <table className={styles.list} hidden={accounts.length === 0}>
        <thead>
          <tr>
            <th scope="col">Space</th>
            <th scope="col">Tenant</th>
            <th scope="col">Records</th>
            <th scope="col">Bytes</th>
          </tr>
        </thead>
        <tbody>
          {accounts.map((account) => (
            <tr key={`${account.space}/${account.tenant ?? ""}`} data-testid="admin-account" data-space={account.space} data-tenant={account.tenant ?? undefined}>
              <th scope="row">{account.space}</th>
              <td data-label="Tenant">{account.tenant ?? <span className={styles.soft}>none</span>}</td>
              <td data-label="Records">
                <Spent had={account.records} most={account.recordsPerMonth} unit="records" />
              </td>
              <td data-label="Bytes">
                <Spent had={account.bytes} most={account.bytesPerMonth} unit="bytes" />
              </td>
            </tr>
          ))}
        </tbody>
      </table>
      <Pager path={path} next={shown?.next ?? null} size={withUnit(ACCOUNTS_PER_PAGE, "accounts")} onPath={setPath} testid="usage" />
    </section>
  );
}

function Spent({ had, most, unit }: { had: Account["records"]; most: number | null; unit: "records" | "bytes" }) {
  if (most === null) return <span>{withUnit(had, unit)}</span>;
  return (
    <span className={styles.spent} data-full={had >= most}>
      <span>
        {unit === "bytes" ? withUnit(had, unit) : had.toLocaleString("en")} of {withUnit(most, unit)}, {share(had, most)}
      </span>
      <span className={styles.bar} aria-hidden="true">
        <span style={{ width: `${Math.min(100, (had / Math.max(most, 1)) * 100)}%` }} />
      </span>
    </span>
  );
}

/** `2026-11` as `November 2026`. */
function monthText(month: string): string {
  return new Date(`${month}-01T00:00:00Z`).toLocaleDateString("en", { month: "long", year: "numeric", timeZone: "UTC" });
}

function dayText(atMs: number): string {
  return new Date(atMs).toLocaleDateString("en", { day: "numeric", month: "long", timeZone: "UTC" });
}
