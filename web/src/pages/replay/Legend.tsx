/** Who wrote most, in their colours: below the scrubber where there is room, and with the events. */

import type { Timeline } from "../../past/timeline";
import { AUTHOR_COLOURS, authorName, colourVariable, type Palette } from "./authors";
import styles from "./Legend.module.css";

export function Legend({ timeline, palette, className }: { timeline: Timeline | null; palette: Palette; className?: string | undefined }) {
  const authors = timeline?.authors ?? [];
  const named = authors.filter(({ author }) => author !== null && palette.has(author)).slice(0, AUTHOR_COLOURS);
  const sum = (shares: typeof authors): number => shares.reduce((total, { records }) => total + records, 0);
  const others = sum(authors) - sum(named);
  return (
    <ul className={[styles.legend, className].filter(Boolean).join(" ")} aria-label="Authors" data-testid="legend">
      {[...named, ...(others > 0 ? [{ author: null, records: others }] : [])].map(({ author, records }) => (
        <li key={author ?? ""}>
          <span className={styles.dot} style={{ backgroundColor: `var(${colourVariable(palette, author)})` }} />
          {authorName(author)} <span className={styles.count}>{records.toLocaleString()}</span>
        </li>
      ))}
    </ul>
  );
}
