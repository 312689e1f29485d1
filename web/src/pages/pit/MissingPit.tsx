import { useLocation } from "wouter";
import { Button } from "../../design/Button";
import { Notice } from "../../design/Notice";
import { isPitCode, mayWrite, PIT_CODE_LENGTH, type Role } from "../../room/slug";
import styles from "./MissingPit.module.css";

/** A code that leads nowhere is most often a slip of the finger: an empty canvas would hide that. */
export function MissingPit({ slug, role, onOpen }: { slug: string; role: Role; onOpen: (() => void) | null }) {
  const [, go] = useLocation();
  return (
    <Notice
      title="No pit has this code"
      testid="missing-pit"
      actions={
        <>
          <Button kind="primary" onClick={() => go(`/?code=${encodeURIComponent(slug)}`)} data-testid="check-code">
            Check the code
          </Button>
          {onOpen === null ? null : (
            <Button onClick={onOpen} data-testid="open-anyway">
              {mayWrite(role) ? "Start a pit with this code" : "Wait for it"}
            </Button>
          )}
        </>
      }
    >
      <p className={styles.code}>{slug}</p>
      <p role="alert">
        {isPitCode(slug)
          ? "Nobody has drawn there yet, or it was deleted. Perhaps a character is not quite right."
          : `A code has ${PIT_CODE_LENGTH} characters, none of 0 1 i l o.`}
      </p>
    </Notice>
  );
}
