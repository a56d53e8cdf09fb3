// What client.js adds to the plain protocol, which has neither a list of participants nor mute states.

/** Minimum time between two requests for the list, whose changes others cause. */
const PAUSE = 1_000;

/** The list of participants over HTTP. It belongs to one connection and is discarded without it. */
export class List {
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
   * @param on.read()               gets the list (a promise)
   * @param on.use(list, changed)   applies a list, except to the ids in `changed`
   */
  constructor({ read, use }) {
    this.#read = read;
    this.#use = use;
  }

  open() {
    this.#connection = ++this.#connections;
    this.refresh();
  }

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
      // The WebSocket detects the same problem.
    } finally {
      this.#reading = false;
      this.#earliest = performance.now() + PAUSE;
      if (this.#wanted || connection !== this.#connection) this.refresh();
    }
  }
}

/** The value of `page` in offers and announcements. */
export const PAGE_MARK = 1;

/** Delay until the calls are up: a frontend that offers on each announcement must not get two answers. */
const ANNOUNCE_AFTER = 3_000;

/**
 * Mute states between clients. Other frontends make an offer on each `user-joined`: so a client marks its first
 * announcement and its offers with `page`, and sends its state, in a `user-joined` with `to`, only to those who have
 * sent such a mark.
 */
export class Announcements {
  #send;
  #others;
  #known = new Set();
  #unsure = new Set(); // of the known, clients that may have lost our state
  #muted = false;
  #isOpen = false;
  #missed = false; // whether our state changed while we were disconnected
  #timer;

  /**
   * @param on.send(to, data)   sends a `user-joined`, to all others if `to` is undefined
   * @param on.others()         the ids of all other participants
   */
  constructor({ send, others }) {
    this.#send = send;
    this.#others = others;
  }

  /** A client that assumed we had left makes an offer after a reconnect, and gets our state again then. */
  open(again) {
    this.#isOpen = true;
    if (again) {
      this.#unsure = new Set(this.#known);
      if (this.#missed) this.#tellAll();
      return;
    }
    this.#known.clear();
    this.#unsure.clear();
    this.#missed = false;
    this.#timer = setTimeout(() => this.#announce(), ANNOUNCE_AFTER);
  }

  lost() {
    this.#isOpen = false;
    clearTimeout(this.#timer);
  }

  mute(muted) {
    if (muted === this.#muted) return;
    this.#muted = muted;
    this.#missed = !this.#isOpen;
    if (this.#isOpen) this.#tellAll();
  }

  /** A participant has sent the mark. */
  meet(id) {
    if (!this.#isOpen || (this.#known.has(id) && !this.#unsure.delete(id))) return;
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

  /** Clients that joined before us know us: they have made us an offer. */
  #announce() {
    if (this.#others().some((id) => !this.#known.has(id))) this.#tell();
  }

  #tell(to) {
    this.#send(to, { page: PAGE_MARK, muted: this.#muted });
  }
}

/** A participant of whom only the id is known. */
export const unnamed = (userId) => ({ userId, displayName: undefined, connected: true, state: { muted: false } });

/** The user that a token names. */
export const userOf = (token) => JSON.parse(atob(token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/'))).sub;

/**
 * Applies a list to the known participants, except to the ids in `changed`, which later frames are about. Returns
 * who has left, as [id, reason]. A user who is not listed is no participant any more. One without a connection may
 * still be in the call while the server drains.
 */
export function applyList(known, { participants, presence }, changed, me) {
  const listed = new Map(participants.map((one) => [one.user_id, one]));
  for (const [id, { display_name: displayName, joined_at: joinedAt, connected }] of listed) {
    const isNew = !known.has(id);
    if (isNew && (!connected || changed.has(id))) continue;
    known.set(id, { ...(known.get(id) ?? unnamed(id)), displayName, joinedAt });
  }
  const isAway = (id) => !listed.get(id)?.connected && !(listed.has(id) && presence === 'unknown');
  const gone = [...known.keys()].filter((id) => id !== me && !changed.has(id) && isAway(id));
  for (const id of gone) known.delete(id);
  return gone.map((id) => [id, listed.has(id) ? 'absent' : 'left']);
}

/** The request to the HTTP API, below the room, that does what a frame does. */
export function route(type, to, data) {
  const user = to && encodeURIComponent(to);
  switch (type) {
    case 'chat':
      return { method: 'POST', path: 'messages', body: data };
    case 'chat-delete':
      return { method: 'DELETE', path: `messages/${data.id}` };
    case 'ban':
      return { method: 'POST', path: 'bans', body: { user_id: to, ...data } };
    case 'unban':
      return { method: 'DELETE', path: `bans/${user}`, body: data };
    case 'lock': {
      const { locked, ...body } = data;
      return { method: 'POST', path: locked ? 'lock' : 'unlock', body };
    }
    default:
      return { method: 'POST', path: `participants/${user}/${type}`, body: data };
  }
}
