// Limits the work that each other participant can cause on this page.
//
// Participants can send anything, and a browser has a limited number of peer connections. So each sender
// has budgets that refill over time. Messages above a budget are ignored, and the page shows that.

/** The burst, and the milliseconds until one more is allowed. */
const CALLS = [6, 10_000]; // each costs a peer connection
const DESCRIPTIONS = [20, 2_000];
const CANDIDATES = [200, 100];

/** Maximum length of a session description, with a wide margin. */
const MAX_SDP_CHARS = 100_000;
const MAX_MEDIA_SECTIONS = 16;

/** How long the page names a sender after the last ignored message. */
const IGNORED_NOTICE_MS = 15_000;

class Budget {
  #size;
  #interval;
  #paidUntil = 0; // when the budget will be full again

  constructor([size, interval]) {
    this.#size = size;
    this.#interval = interval;
  }

  /** Takes one: returns 0, or the milliseconds until one is available. */
  take(now) {
    const start = Math.max(now, this.#paidUntil);
    const wait = start + this.#interval - (now + this.#size * this.#interval);
    if (wait > 0) return wait;
    this.#paidUntil = start + this.#interval;
    return 0;
  }

  isFull(now) {
    return this.#paidUntil <= now;
  }
}

export class Limits {
  #senders = new Map(); // id → budgets; a participant who rejoins keeps them
  #ignored = new Map(); // id → time of the last ignored message
  #timer;
  #on;

  /** @param on(ids)   senders whose frames are ignored now */
  constructor(on) {
    this.#on = on;
  }

  /** Takes a new call with a participant: returns 0, or the milliseconds until one is allowed. */
  call(id) {
    const wait = this.#of(id).calls.take(performance.now());
    if (wait > 0) this.#ignore(id);
    return wait;
  }

  /** Whether to accept a description or a candidate from a participant. */
  frame(id, type, data) {
    const budget = type === 'ice-candidate' ? this.#of(id).candidates : this.#of(id).descriptions;
    const takes = fits(data?.sdp) && budget.take(performance.now()) === 0;
    if (!takes) this.#ignore(id);
    return takes;
  }

  get ignored() {
    return [...this.#ignored.keys()];
  }

  #of(id) {
    let budgets = this.#senders.get(id);
    if (!budgets) {
      this.#forgetFullOnes();
      budgets = { calls: new Budget(CALLS), descriptions: new Budget(DESCRIPTIONS), candidates: new Budget(CANDIDATES) };
      this.#senders.set(id, budgets);
    }
    return budgets;
  }

  #forgetFullOnes() {
    const now = performance.now();
    for (const [id, budgets] of this.#senders) {
      if (Object.values(budgets).every((budget) => budget.isFull(now))) this.#senders.delete(id);
    }
  }

  #ignore(id) {
    const isNew = !this.#ignored.has(id);
    this.#ignored.set(id, performance.now());
    if (!isNew) return;
    this.#timer ??= setInterval(() => this.#calm(), IGNORED_NOTICE_MS / 5);
    this.#on(this.ignored);
  }

  #calm() {
    const before = this.#ignored.size;
    for (const [id, last] of this.#ignored) {
      if (performance.now() - last > IGNORED_NOTICE_MS) this.#ignored.delete(id);
    }
    if (this.#ignored.size === before) return;
    this.#on(this.ignored);
    if (this.#ignored.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}

const fits = (sdp = '') => sdp.length <= MAX_SDP_CHARS && (String(sdp).match(/^m=/gm) ?? []).length <= MAX_MEDIA_SECTIONS;
