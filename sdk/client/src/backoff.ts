/** How long to wait before the next try: longer each time, and never in step with others. */

import { BACKOFF_FIRST_MS, BACKOFF_MAX_MS } from "./limits.js";

/** The pauses of one connection, or of one room on it. */
export class Backoff {
  #tries = 0;

  /** @param random from 0 to 1 */
  constructor(private readonly random: () => number = Math.random) {}

  /** It worked: the next pause is short again. */
  reset(): void {
    this.#tries = 0;
  }

  /**
   * The next pause: at random up to twice the one before ("full jitter"), and not before what the
   * server has asked for.
   */
  next(atLeastMs: number): number {
    const most = Math.min(BACKOFF_FIRST_MS * 2 ** Math.min(this.#tries, 16), BACKOFF_MAX_MS);
    this.#tries += 1;
    return atLeastMs + most * this.random();
  }
}
