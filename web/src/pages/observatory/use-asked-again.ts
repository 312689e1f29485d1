import { useEffect, useRef, useState } from "react";
import type { Answer, Failed } from "../../api/ask";

interface Asked<T> {
  /** The last good answer. */
  readonly value: T | null;
  /** Why the last question had none. */
  readonly failed: Failed | null;
}

/** Asks at once and then again and again, one question at a time; anew when what is asked (`what`) is another. */
export function useAskedAgain<T>(what: string, ask: () => Promise<Answer<T>>, everyMs: number): Asked<T> {
  const [asked, setAsked] = useState<Asked<T>>({ value: null, failed: null });
  const question = useRef(ask);
  useEffect(() => {
    question.current = ask;
  });
  useEffect(() => {
    let left = false;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const again = async (): Promise<void> => {
      const answer = await question.current();
      if (left) return;
      setAsked((before) => (answer.ok ? { value: answer.value, failed: null } : { ...before, failed: answer }));
      timer = setTimeout(() => void again(), everyMs);
    };
    void again();
    return () => {
      left = true;
      clearTimeout(timer);
    };
  }, [what, everyMs]);
  return asked;
}
