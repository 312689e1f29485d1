import { useId, useMemo, useRef, useState } from "react";
import { encode } from "uqr";
import { Button } from "../../design/Button";
import { copyText } from "../../design/copy-text";
import { Dialog } from "../../design/Dialog";
import { Icon } from "../../design/Icon";
import { pitPath, type Role } from "../../room/slug";
import styles from "./ShareDialog.module.css";

const LINKS: Readonly<Record<Role, { readonly label: string; readonly does: string }>> = {
  viewer: { label: "Watch", does: "See it live, change nothing" },
  editor: { label: "Draw together", does: "Draw and erase, as you do" },
  creator: { label: "Draw together", does: "Draw and erase, as you do" },
};

/** A viewer may pass on only what it was given. */
export function ShareDialog({ slug, role, onClose }: { slug: string; role: Role; onClose: () => void }) {
  const [scanned, setScanned] = useState<Role>("viewer");
  const offered: readonly Role[] = role === "viewer" ? ["viewer"] : ["viewer", role];
  const url = (of: Role): string => `${location.origin}${pitPath(slug, of)}`;
  return (
    <Dialog title="Share this pit" onClose={onClose} testid="share-dialog">
      <div className={styles.content}>
        <div className={styles.top}>
          <QrCode text={url(scanned)} label={`QR code: ${LINKS[scanned].label}`} />
          <dl className={styles.code}>
            <dt>Code</dt>
            <dd>{slug}</dd>
            {offered.length > 1 ? (
              <>
                <dt>QR code opens to</dt>
                <dd className={styles.switch} role="radiogroup" aria-label="What the QR code opens">
                  {offered.map((of) => (
                    <label key={of}>
                      <input type="radio" name="scanned" checked={scanned === of} onChange={() => setScanned(of)} />
                      <span>{of === "viewer" ? "Watch" : "Draw"}</span>
                    </label>
                  ))}
                </dd>
              </>
            ) : null}
          </dl>
        </div>
        <div className={styles.links}>
          {offered.map((of) => (
            <ShareLink key={of} url={url(of)} testid={`${of}-link`} {...LINKS[of]} />
          ))}
        </div>
      </div>
    </Dialog>
  );
}

function ShareLink({ url, label, does, testid }: { url: string; label: string; does: string; testid: string }) {
  const field = useRef<HTMLInputElement>(null);
  const id = useId();
  const [copied, setCopied] = useState(false);

  async function copy(): Promise<void> {
    setCopied(await copyText(url, field.current));
    setTimeout(() => setCopied(false), 1_800);
  }

  return (
    <div className={styles.link}>
      <label htmlFor={id}>
        <strong>{label}</strong> <span>{does}</span>
      </label>
      <div className={styles.row}>
        <input id={id} ref={field} readOnly value={url} onFocus={(event) => event.target.select()} data-testid={testid} />
        <Button className={styles.copy} onClick={() => void copy()} aria-label={`Copy the link: ${label}`} data-testid={`copy-${testid}`}>
          <Icon name={copied ? "check" : "copy"} />
          <span aria-live="polite">{copied ? "Copied" : "Copy"}</span>
        </Button>
      </div>
    </div>
  );
}

/** Dark modules on white in either theme: that is what cameras expect. */
function QrCode({ text, label }: { text: string; label: string }) {
  const { size, path } = useMemo(() => {
    const { size, data } = encode(text, { ecc: "M", border: 2 });
    const path = data.flatMap((row, y) => row.flatMap((dark, x) => (dark ? [`M${x} ${y}h1v1h-1z`] : []))).join("");
    return { size, path };
  }, [text]);
  return (
    <svg className={styles.qr} viewBox={`0 0 ${size} ${size}`} role="img" aria-label={label} shapeRendering="crispEdges" data-testid="qr" data-text={text}>
      <rect width={size} height={size} fill="#fff" />
      <path d={path} fill="#0b1c21" />
    </svg>
  );
}
