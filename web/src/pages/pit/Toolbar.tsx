import { IconButton } from "../../design/Button";
import { INKS, INK_NAMES, inkVariable, WIDTHS } from "../../ink/inks";
import styles from "./Toolbar.module.css";
import type { Tools } from "./tools";

const WIDTH_NAMES = ["Fine", "Medium", "Broad", "Marker"] as const;

export interface ToolbarProps {
  readonly tools: Tools;
  readonly canUndo: boolean;
  readonly canRedo: boolean;
  readonly onTools: (change: Partial<Tools>) => void;
  readonly onUndo: () => void;
  readonly onRedo: () => void;
}

export function Toolbar({ tools, canUndo, canRedo, onTools, onUndo, onRedo }: ToolbarProps) {
  const pen = tools.tool === "pen";
  return (
    <div className={styles.toolbar} role="toolbar" aria-label="Drawing" data-testid="toolbar">
      <div className={styles.group}>
        <IconButton icon="pen" label="Pen" shortcut="P" aria-pressed={pen} onClick={() => onTools({ tool: "pen" })} data-testid="tool-pen" />
        <IconButton icon="eraser" label="Eraser" shortcut="E" aria-pressed={!pen} onClick={() => onTools({ tool: "eraser" })} data-testid="tool-eraser" />
      </div>
      <div className={styles.group} role="radiogroup" aria-label="Width">
        {WIDTHS.map((width, place) => (
          <label key={width} className={styles.choice} title={`${WIDTH_NAMES[place]} ([ and ])`}>
            <input type="radio" name="width" checked={tools.width === width} onChange={() => onTools({ width, tool: "pen" })} aria-label={WIDTH_NAMES[place]} data-testid={`width-${width}`} />
            <span className={styles.width} style={{ width: 4 + place * 5, height: 4 + place * 5 }} />
          </label>
        ))}
      </div>
      <div className={styles.inks} role="radiogroup" aria-label="Colour">
        {INKS.map((ink, place) => (
          <label key={ink} className={styles.choice} title={`${INK_NAMES[ink]} (${place + 1})`}>
            <input type="radio" name="ink" checked={tools.ink === ink} onChange={() => onTools({ ink, tool: "pen" })} aria-label={INK_NAMES[ink]} data-testid={`ink-${ink}`} />
            <span className={styles.swatch} style={{ backgroundColor: `var(${inkVariable(ink)})` }} />
          </label>
        ))}
      </div>
      <div className={styles.group}>
        <IconButton icon="undo" label="Undo" shortcut="Ctrl+Z" disabled={!canUndo} onClick={onUndo} data-testid="undo" />
        <IconButton icon="redo" label="Redo" shortcut="Ctrl+Shift+Z" disabled={!canRedo} onClick={onRedo} data-testid="redo" />
      </div>
    </div>
  );
}
