// Participants who left while their audio worked.

/** A participant whose connection was replaced joins again within this many milliseconds. */
const REPLACED_WITHIN = 250;

/** They may have a newer connection, and have kept the call, as when their server was lost: they join again at once. */
export class Leaving {
  #timers = new Map(); // by id
  #gone;

  /** @param gone(id)   a participant has not joined again */
  constructor(gone) {
    this.#gone = gone;
  }

  begin(id) {
    this.stays(id);
    this.#timers.set(id, setTimeout(() => this.#gone(id), REPLACED_WITHIN));
  }

  /** A participant is there, or gone. Returns whether they were leaving. */
  stays(id) {
    clearTimeout(this.#timers.get(id));
    return this.#timers.delete(id);
  }

  clear() {
    for (const id of [...this.#timers.keys()]) this.stays(id);
  }
}
