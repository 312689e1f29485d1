import { useMemo } from "react";
import { encode } from "uqr";
import styles from "./ShareDialog.module.css";

/** Past this a code is too fine for a camera to read from a screen. */
const TEXT_MAX = 1_200;

/** Dark modules on white in either theme: that is what cameras expect. Nothing for a text that is too long. */
export function QrCode({ text, label }: { text: string; label: string }) {
  const code = useMemo(() => (text.length > TEXT_MAX ? null : drawn(text)), [text]);
  if (code === null) return null;
  return (
    <svg className={styles.qr} viewBox={`0 0 ${code.size} ${code.size}`} role="img" aria-label={label} shapeRendering="crispEdges" data-testid="qr" data-text={text}>
      <rect width={code.size} height={code.size} fill="#fff" />
      <path d={code.path} fill="#0b1c21" />
    </svg>
  );
}

/** A link with a token is long: less is spent on repair, so that its modules stay large. */
function drawn(text: string): { readonly size: number; readonly path: string } {
  const { size, data } = encode(text, { ecc: text.length > 120 ? "L" : "M", border: 2 });
  const path = data.flatMap((row, y) => row.flatMap((dark, x) => (dark ? [`M${x} ${y}h1v1h-1z`] : []))).join("");
  return { size, path };
}
