/** The second thread lost in a row waits this long for its replacement, each further one twice as long. */
const firstDelayMs = 100;

/** Long enough that a module which can't run costs nothing, short enough to wait for once it can. */
const longestDelayMs = 5000;

/** What has lived for this long was lost for a reason of its own. */
const livedMs = 10_000;

/** When a lost thread is replaced: at once, but not in a loop. */
export class BackOff {
  #losses = 0;

  /** How long to wait after a loss. */
  next(livedForMs: number): number {
    if (livedForMs >= livedMs) this.#losses = 0;
    const losses = this.#losses++;
    return losses === 0 ? 0 : Math.min(longestDelayMs, firstDelayMs * 2 ** (losses - 1));
  }
}
