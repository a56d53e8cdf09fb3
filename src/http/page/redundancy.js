// When to ask a participant for redundant audio.
//
// With `audio/red` (RFC 2198), each packet repeats the audio of the one before, so that a single lost packet is not
// heard. That doubles the bit rate, so the page asks for it only while packets of this participant are lost.

/** Loss of the last reports from which on redundancy is on, in percent: that of a weak link. */
const ON_FROM = 2;
const ON_WINDOW = 6_000;
/** Loss below which it is off again, in percent. */
const OFF_BELOW = 0.5;
const OFF_WINDOW = 30_000;
/** The number of packets without which a loss means nothing. */
const MIN_PACKETS = 150;
/** The time between two changes: each is a negotiation. */
const PAUSE = 30_000;

export class Redundancy {
  /** Whether the other side should send redundant audio. */
  isOn = false;

  #reports = []; // { time, packets, lost }, the oldest first
  #changed = -Infinity;

  /**
   * Adds a report: the numbers of received and of lost packets so far. Returns whether `isOn` has changed.
   *
   * @param time   in milliseconds
   */
  take({ packets, lost }, time) {
    // Another stream counts anew.
    if (packets < (this.#reports.at(-1)?.packets ?? 0)) this.#reports = [];
    this.#reports.push({ time, packets, lost });
    while (this.#reports[0].time < time - OFF_WINDOW) this.#reports.shift();
    if (time - this.#changed < PAUSE) return false;
    const changes = this.isOn ? this.#loss(OFF_WINDOW) < OFF_BELOW : this.#loss(ON_WINDOW) >= ON_FROM;
    if (!changes) return false;
    this.isOn = !this.isOn;
    this.#changed = time;
    return true;
  }

  /** The loss of the last milliseconds in percent; NaN if too few packets were sent. */
  #loss(window) {
    const last = this.#reports.at(-1);
    const first = this.#reports.find(({ time }) => time >= last.time - window);
    const lost = last.lost - first.lost;
    const sent = last.packets - first.packets + lost;
    return sent < MIN_PACKETS ? NaN : (100 * lost) / sent;
  }
}
