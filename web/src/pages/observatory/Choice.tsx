import { useId } from "react";
import styles from "./Choice.module.css";

interface ChoiceProps<T extends string> {
  readonly label: string;
  readonly choices: readonly { readonly value: T; readonly label: string }[];
  readonly value: T;
  readonly onChoose: (value: T) => void;
  readonly testid: string;
}

/** One of a few, all in sight. */
export function Choice<T extends string>({ label, choices, value, onChoose, testid }: ChoiceProps<T>) {
  const name = useId();
  return (
    <fieldset className={styles.choice} data-testid={testid}>
      <legend className={styles.legend}>{label}</legend>
      {choices.map((choice) => (
        <label key={choice.value} className={styles.option}>
          <input type="radio" name={name} checked={choice.value === value} onChange={() => onChoose(choice.value)} data-testid={`${testid}-${choice.value}`} />
          <span>{choice.label}</span>
        </label>
      ))}
    </fieldset>
  );
}
