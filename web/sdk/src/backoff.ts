/**
 * Delays between attempts: doubling, capped, and spread so that an audience does not return as one.
 */
export class Backoff {
  private attempt = 0;

  /**
   * @param firstMs delay before the first retry
   * @param maxMs the longest delay; who waits for a start wants it short
   * @param random in [0, 1): 0.5 keeps the delay, the ends move it by a quarter
   */
  constructor(
    private readonly firstMs: number,
    private readonly maxMs: number,
    private readonly random: () => number = Math.random,
  ) {}

  /** The next delay in ms. */
  next(): number {
    const delay = Math.min(this.maxMs, this.firstMs * 2 ** Math.min(this.attempt, 16));
    this.attempt += 1;
    return Math.round(delay * (0.75 + this.random() / 2));
  }

  /** Back to the first delay: something worked. */
  reset(): void {
    this.attempt = 0;
  }
}
