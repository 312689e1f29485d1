/** Typed events: who listens is told at once, in the order of subscription. */

/** Takes an event. */
export type Listener<T> = (event: T) => void;

/** Something that tells of the events `E`, by name. */
export class Emitter<E extends object> {
  readonly #listeners = new Map<keyof E, Set<Listener<never>>>();

  /**
   * Listens from now on.
   *
   * @returns what ends it
   */
  on<K extends keyof E>(name: K, listener: Listener<E[K]>): () => void {
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners);
    listeners.add(listener);
    return () => void listeners.delete(listener);
  }

  /** Listens for the next one only. */
  once<K extends keyof E>(name: K, listener: Listener<E[K]>): () => void {
    const end = this.on(name, (event) => {
      end();
      listener(event);
    });
    return end;
  }

  /** Tells everyone. A listener that throws is its own business: nobody else hears less for it. */
  protected emit<K extends keyof E>(name: K, event: E[K]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        (listener as Listener<E[K]>)(event);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
