// The quality of the links of a call: what the server reports of them, and what the page reports to it.

/** A link that is not good may be so for its loss from here on: half of the server's limit. */
const LOSES = 1;
/** The server repeats links that are not good every ten seconds: one without a report is no link any more. */
const VALID = 20_000;

/** The interval of our reports. */
const REPORT_INTERVAL = 2_000;

/** Remembers the `quality` frames of the server. */
export class Quality {
  #links = new Map(); // by user and direction → { userId, direction, isWeak, loses, timer }
  #changed;

  /** @param changed(id)   the state of a participant's links may have changed */
  constructor(changed) {
    this.#changed = changed;
  }

  take({ links }) {
    for (const link of links) this.#remember(link);
  }

  /** The weak links of a participant: any of { up, down }, each with whether it loses packets. */
  of(id) {
    const weak = [...this.#links.values()].filter(({ userId, isWeak }) => userId === id && isWeak);
    return Object.fromEntries(weak.map(({ direction, loses }) => [direction, { loses }]));
  }

  clear() {
    for (const key of [...this.#links.keys()]) this.#forget(key);
  }

  #remember({ userId, direction, level, lossPct }) {
    const key = `${direction} ${userId}`;
    clearTimeout(this.#links.get(key)?.timer);
    const timer = setTimeout(() => this.#forget(key), VALID);
    this.#links.set(key, { userId, direction, isWeak: level !== 'good', loses: lossPct >= LOSES, timer });
    this.#changed(userId);
  }

  #forget(key) {
    const { userId, timer } = this.#links.get(key);
    clearTimeout(timer);
    this.#links.delete(key);
    this.#changed(userId);
  }
}

/** Sends `stats` frames. */
export class Reports {
  #read;
  #send;
  #timer;

  /**
   * @param on.read()           what was received by now (a promise)
   * @param on.send(received)   sends it
   */
  constructor({ read, send }) {
    this.#read = read;
    this.#send = send;
  }

  start() {
    this.stop();
    this.#timer = setInterval(() => this.#report().catch(() => {}), REPORT_INTERVAL);
  }

  stop() {
    clearInterval(this.#timer);
  }

  async #report() {
    const received = await this.#read();
    if (received.length > 0) this.#send(received);
  }
}
