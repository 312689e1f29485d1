import { Dialog } from "../../design/Dialog";
import styles from "./HelpDialog.module.css";
import { SHORTCUTS } from "./shortcuts";

export function HelpDialog({ draws, onClose }: { draws: boolean; onClose: () => void }) {
  return (
    <Dialog title="Keys" onClose={onClose} testid="help">
      <dl className={styles.keys}>
        {SHORTCUTS.filter((shortcut) => draws || !shortcut.draws).map(({ keys, what }) => (
          <div key={keys}>
            <dt>{what}</dt>
            <dd>
              <kbd>{keys}</kbd>
            </dd>
          </div>
        ))}
      </dl>
      <p className={styles.touch}>On a touch screen two fingers move and zoom the paper.</p>
    </Dialog>
  );
}
