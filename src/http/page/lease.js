// How long the allocations of connections last, if they end with their credential (`turn.end_at_expiry`).

/** The part of its time after which an allocation is replaced. The server sends others after half of it or more. */
const REPLACE_AFTER = 0.4;

export class Lease {
  #begun = performance.now();
  #length;

  /** @param length   in milliseconds; Infinity: allocations do not end */
  constructor(length) {
    this.#length = length;
  }

  /** Whether allocations with these servers should be replaced now, as others are there. */
  get isDue() {
    return performance.now() - this.#begun > this.#length * REPLACE_AFTER;
  }
}
