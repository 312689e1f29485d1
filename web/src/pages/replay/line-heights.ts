/**
 * How high the lines of a text stand, wrapped as they are: guessed from their length until they have been
 * drawn, and exact from then on. Pure: who draws says what was measured. All in px.
 */

export class LineHeights {
  readonly #heights: Float64Array;
  /** Where each line begins, and at last where the text ends; as far as `#known`. */
  readonly #tops: Float64Array;
  #known = 0;

  /** `columns` of the script go into a row, which is `row` high. */
  constructor(lengths: readonly number[], columns: number, row: number) {
    this.#heights = Float64Array.from(lengths, (length) => Math.max(1, Math.ceil(length / columns)) * row);
    this.#tops = new Float64Array(lengths.length + 1);
  }

  /** Where a line begins; past the last one, where the text ends. */
  topOf(line: number): number {
    const to = Math.max(0, Math.min(line, this.#heights.length));
    for (; this.#known < to; this.#known += 1) this.#tops[this.#known + 1] = (this.#tops[this.#known] ?? 0) + (this.#heights[this.#known] ?? 0);
    return this.#tops[to] ?? 0;
  }

  get total(): number {
    return this.topOf(this.#heights.length);
  }

  /** The line that stands at a height: the first one above all, the last one below all. */
  lineAt(top: number): number {
    let [low, high] = [0, Math.max(0, this.#heights.length - 1)];
    while (low < high) {
      const middle = Math.ceil((low + high) / 2);
      if (this.topOf(middle) <= top) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  /** A line was measured. Gives whether it is not as high as it was taken for. */
  measure(line: number, height: number): boolean {
    if (this.#heights[line] === undefined || this.#heights[line] === height) return false;
    this.#heights[line] = height;
    this.#known = Math.min(this.#known, line);
    return true;
  }
}
