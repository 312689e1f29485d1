import type { ButtonHTMLAttributes } from "react";
import styles from "./Button.module.css";
import { Icon, type IconName } from "./Icon";

type ButtonProps = ButtonHTMLAttributes<HTMLButtonElement> & { "data-testid"?: string };

export function Button({ kind = "plain", className, ...rest }: ButtonProps & { kind?: "plain" | "primary" }) {
  return <button type="button" className={join(styles.button, styles[kind], className)} {...rest} />;
}

/** A square button that shows only an icon; `label` is its name and its tooltip. */
export function IconButton({ icon, label, shortcut, className, ...rest }: ButtonProps & { icon: IconName; label: string; shortcut?: string }) {
  return (
    <button
      type="button"
      className={join(styles.icon, className)}
      aria-label={label}
      aria-keyshortcuts={shortcut}
      title={shortcut === undefined ? label : `${label} (${shortcut})`}
      {...rest}
    >
      <Icon name={icon} />
    </button>
  );
}

export function join(...names: (string | undefined | false)[]): string {
  return names.filter(Boolean).join(" ");
}
