// Messages between pages in addition to the protocol: whether the microphone is muted.
//
// The plain protocol has no message for it, and other frontends make an offer on each `user-joined`. So
// a page marks its first announcement and its offers with `page`. It sends its state, in a `user-joined`
// with `to`, only to participants who sent such a mark.

const PAGE_MARK = 1;

/** Delay until the calls are up: a frontend that offers on each announcement must not get two answers. */
const ANNOUNCE_AFTER = 3_000;

export class MuteState {
  #on;
  #known = new Set();
  #unsure = new Set(); // of the known, pages that may have lost our state
  #muted = false;
  #connected = false;
  #missed = false; // whether our state changed while we were disconnected
  #timer;

  /**
   * @param on.send(type, to, fields)
   * @param on.muted(id, muted)   another page's state
   * @param on.others()           the ids of all other participants in the room
   */
  constructor(on) {
    this.#on = on;
  }

  /** First connection to the room: no page knows another one yet. */
  open() {
    this.close();
    this.#connected = true;
    this.#missed = false;
    this.#timer = setTimeout(() => this.#announce(), ANNOUNCE_AFTER);
  }

  close() {
    clearTimeout(this.#timer);
    this.#connected = false;
    this.#known.clear();
    this.#unsure.clear();
  }

  /** The connection is lost; the page reconnects. */
  lost() {
    this.#connected = false;
  }

  /** Reconnected. A page that assumed we had left makes an offer, and gets our state again then. */
  resume() {
    this.#connected = true;
    this.#unsure = new Set(this.#known);
    if (this.#missed) this.#tellAll();
  }

  /** Our own state. */
  mute(muted) {
    if (muted === this.#muted) return;
    this.#muted = muted;
    this.#missed = !this.#connected;
    if (this.#connected) this.#tellAll();
  }

  /** The fields of a message; an offer gets the mark. */
  mark(type, fields) {
    return type === 'offer' ? { ...fields, page: PAGE_MARK } : fields;
  }

  /** Handles a `user-joined`. Returns whether it is a message between pages and not an announcement. */
  take({ from, data }) {
    if (!data?.page) return false;
    this.#on.muted(from, data.muted === true);
    this.meet(from);
    return true;
  }

  /** A participant has sent the mark of a page. */
  meet(id) {
    if (this.#known.has(id) && !this.#unsure.delete(id)) return;
    this.#known.add(id);
    this.#tell(id);
  }

  forget(id) {
    this.#known.delete(id);
    this.#unsure.delete(id);
  }

  #tellAll() {
    this.#missed = false;
    this.#unsure.clear();
    for (const id of this.#known) this.#tell(id);
  }

  /** Pages that joined before us know us: they have made us an offer. */
  #announce() {
    if (this.#on.others().some((id) => !this.#known.has(id))) this.#tell();
  }

  #tell(to) {
    this.#on.send('user-joined', to, { data: { page: PAGE_MARK, muted: this.#muted } });
  }
}
