import { Button } from "../../design/Button";
import styles from "./AdminPage.module.css";

interface PagerProps {
  /** What each page so far began after; the last one is shown. */
  readonly path: readonly (string | null)[];
  /** What the next one begins after; null on the last one. */
  readonly next: string | null;
  /** What a page has: `50 rooms`. */
  readonly size: string;
  readonly onPath: (path: readonly (string | null)[]) => void;
  readonly testid: string;
}

/** Turns the pages of a list; nothing where there is only one. */
export function Pager({ path, next, size, onPath, testid }: PagerProps) {
  if (path.length === 1 && next === null) return null;
  return (
    <div className={styles.row}>
      <Button disabled={path.length === 1} onClick={() => onPath(path.slice(0, -1))} data-testid={`${testid}-before`}>
        Before
      </Button>
      <span className={styles.soft}>
        Page {path.length}, {size} each
      </span>
      <Button disabled={next === null} onClick={() => onPath([...path, next])} data-testid={`${testid}-next`}>
        Next
      </Button>
    </div>
  );
}
