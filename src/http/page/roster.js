// The list of participants of the room, with their names.
//
// Other participants decide how often the list changes, so the page reads it at most once per PAUSE. A
// list belongs to one connection to the room and is discarded without it. Events that arrive while a
// request is pending are newer than its list.

const PAUSE = 1_000;

export class Roster {
  #read;
  #use;
  #connection = 0; // 0: none
  #connections = 0;
  #wanted = false;
  #reading = false;
  #timer;
  #earliest = 0;
  #changed = new Set(); // since the pending request was sent

  /**
   * @param read()               gets the list (a promise)
   * @param use(list, changed)   applies a list, except to the ids in `changed`
   */
  constructor(read, use) {
    this.#read = read;
    this.#use = use;
  }

  /** The page is connected to the room. */
  open() {
    this.#connection = ++this.#connections;
    this.refresh();
  }

  /** The connection is lost: the result of a pending request is discarded. */
  close() {
    this.#connection = 0;
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  /** Reads the list, now or soon. */
  refresh() {
    this.#wanted = true;
    if (!this.#connection || this.#reading || this.#timer) return;
    this.#timer = setTimeout(() => this.#go(), Math.max(0, this.#earliest - performance.now()));
  }

  /** A participant joined or left. */
  changed(id) {
    if (!this.#reading) return;
    this.#changed.add(id);
    this.#wanted = true;
  }

  async #go() {
    this.#timer = undefined;
    this.#wanted = false;
    this.#reading = true;
    this.#changed.clear();
    const connection = this.#connection;
    try {
      const list = await this.#read();
      if (connection === this.#connection) this.#use(list, this.#changed);
    } catch {
      // The WebSocket detects the same problem and shows the message.
    } finally {
      this.#reading = false;
      this.#earliest = performance.now() + PAUSE;
      if (this.#wanted || connection !== this.#connection) this.refresh();
    }
  }
}

/** A participant whose connection was replaced joins again within this many milliseconds. */
const REPLACED_WITHIN = 250;

/**
 * Participants who left while their audio worked. They may have a newer connection, and have kept the call, as when
 * their server was lost: then they join again at once.
 */
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

/**
 * Returns which of `ids` have left according to a list. A user who is no longer a participant has left.
 * A participant without a connection has not, while the server drains or while their audio still arrives.
 */
export function gone({ participants, presence }, ids, talks) {
  const connected = new Map(participants.map((one) => [one.user_id, one.connected]));
  const away = (id) => !connected.get(id) && presence !== 'unknown' && !talks(id);
  return ids.filter((id) => !connected.has(id) || away(id));
}
