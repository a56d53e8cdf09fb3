// The session of one user in one room, for any frontend: connection, participants, messages, state, ICE servers.
//
//   import { Client } from '{server}/assets/client.js';
//   const client = new Client({ room: 'lobby', on: { message: (from, data) => console.log(from, data) } });
//   await client.join(token);
//
// It speaks `parlor.v1`, and the plain protocol with a server that does not offer that. After a loss of the connection
// it reconnects by itself, and peer connections continue. docs/build/client.md has a complete example.
//
// The methods of `on` are all optional, see docs/build/client.md: open, lost, closed, roster, joined, updated, left,
// signal, message, chat, chatDeleted, muted, roomUpdated, iceServers, pathLost, tokenExpiring, frame (any other one).
//
// A participant is { userId, displayName, role, connected, joinedAt, state: { muted, handRaised, mutedByModerator } }.
// The plain protocol has no `role`, and only `muted` of others.

import { Check } from './client_check.js';
import { TIMEOUT, request } from './client_http.js';
import { IceServers } from './client_ice.js';
import { Pending, rejected } from './client_pending.js';
import { Announcements, List, PAGE_MARK, applyList, route, unnamed, userOf } from './client_plain.js';
import { Token } from './client_token.js';

/** Close codes after which the client does not reconnect by itself. */
export const CLOSED = { token: 4001, notIn: 4003, roomClosed: 4004, removed: 4005, elsewhere: 4009 };
export const RESTARTING = 1012;

const PROTOCOL = 'parlor.v1';
const FINAL = new Set(Object.values(CLOSED));
const TOO_MUCH = 4008;
const NO_CODE = 1006; // of a connection that ends without a close frame
/** The server keeps the session after these, but a frame that caused one of them would cause it again. */
const BAD_FRAME = new Set([1002, 1007, 1009]);
const MAX_RETRY_DELAY = 30_000;
const STABLE_AFTER = 10_000;
/** In the plain protocol, a reconnect counts once the connection has lasted this long, or a frame has arrived. */
const LASTS_AFTER = 1_000;
/** Received frames until they are acknowledged, beside the pongs of the browser. */
const SEEN_AFTER = 32;

export class Client {
  /** The own id, once connected. */
  me;
  /** By user id, this user included. */
  participants = new Map();
  /** Whether frames can be sent now. */
  get isOpen() { return this.#ready; }
  /** 'parlor.v1' or 'plain' while connected. */
  protocol;
  role; info; limits; // from the welcome of `parlor.v1`; `info` is the room as over HTTP

  #server; #room; #on; #socket;
  #session; // { token, within }: what resumes the session, if the server keeps one
  #seq = 0; // of the last frame
  #unseen = 0; // frames to acknowledge
  #pending = new Pending();
  #runs = 0; // counts calls of close()
  #state = {}; // what update() has set
  #ready = false; // whether frames may be sent
  #knowsStates = false; // whether the server distributes states
  #wasOpen = false;
  #early; // frames until the plain protocol is open
  #attempt = 0;
  #retry; // the timer of the next attempt
  #deadline; // the timer of this one
  #lasting; // runs after a reconnect by the plain protocol
  #ice = new IceServers({
    get: () => this.#get('GET', `ice-servers?room=${encodeURIComponent(this.#room)}`),
    use: (servers) => this.#on.iceServers?.(servers),
    isNeeded: () => Boolean(this.#socket || this.#retry),
  });
  #token = new Token({
    renew: (seconds) => (this.#on.tokenExpiring ? this.#on.tokenExpiring(seconds) : this.#refreshToken()),
    handIn: (token) => this.#request('token', undefined, { data: { token } }),
  });
  #check = new Check({
    isOpen: () => this.#ready,
    ask: () => this.#request('seen', undefined, { data: { seq: this.#seq } }),
    replace: () => this.#replace(),
  });
  #list = new List({
    read: () => this.#get('GET', `${this.#path}/participants`),
    use: (list, changed) => this.#useList(list, changed),
  });
  #announcements = new Announcements({
    send: (to, data) => this.#push('user-joined', to, { data }),
    others: () => [...this.participants.keys()].filter((id) => id !== this.me),
  });

  /** @param server  the URL of the server, by default where this module comes from */
  constructor({ server = new URL('..', import.meta.url), room, on = {} }) {
    this.#server = new URL(server);
    if (!this.#server.pathname.endsWith('/')) this.#server.pathname += '/';
    this.#room = room;
    this.#on = on;
  }

  /** Joins the room and connects. An error has the `status` and the `code` of the HTTP API. */
  async join(token) {
    this.#token.current = token;
    const runs = this.#runs;
    await this.#get('POST', `${this.#path}/join`);
    if (runs === this.#runs) this.connect(token);
  }

  /** Connects a user who has joined. */
  connect(token) {
    this.close();
    this.#token.current = token;
    this.#wasOpen = false;
    this.participants.clear();
    this.#open();
  }

  /** Connects later, after `closed`. */
  retry(token) {
    this.#token.current = token;
    this.#later(0);
  }

  /** Starts the next attempt at once, if one is scheduled. */
  hurry() {
    if (this.#retry) this.#open();
  }

  /**
   * Returns a promise of whether the server answers within this time. If not, the client reconnects at once, and
   * resumes the session. Undefined: the plain protocol has no answers.
   */
  check(milliseconds = 300) {
    return this.protocol === 'plain' ? Promise.resolve(undefined) : this.#check.run(milliseconds);
  }

  /** Ends the session. The membership stays, see leave(). */
  close() {
    this.#runs++;
    this.#forget();
    this.#end();
    this.#ice.stop();
    this.#socket?.close(1000);
    this.#socket = undefined;
  }

  /** Ends session and membership. */
  async leave() {
    this.close();
    await this.#get('POST', `${this.#path}/leave`);
  }

  /** The token from now on: for reconnects, HTTP requests, and this session when its own one expires. */
  setToken(token) {
    this.#token.set(token);
  }

  /** Sends an `offer`, `answer` or `ice-candidate` with its fields, to one user. */
  send(type, to, fields) {
    this.#request(type, to, fields).catch(() => {});
  }

  /**
   * Sends a message of the application to one user, or to all others. The promise is fulfilled when the server has it;
   * an error has a `code`: the server's, or `lost` if the session ended before an answer.
   */
  message(data, to) {
    if (this.protocol === 'plain') return rejected('plain-protocol', 'The server does not speak parlor.v1');
    return this.#request('message', to, { data });
  }

  /** Reports what was received, every two seconds: [{ ssrc, packets, lost, jitterMs }]. It has no answer. */
  stats(received) {
    if (this.protocol !== 'plain') this.#push('stats', undefined, { data: { received } });
  }

  /** Changes the own state: any of { muted, handRaised, displayName }. It is kept over reconnects. */
  async update(changes) {
    if (Object.entries(changes).every(([key, value]) => this.#state[key] === value)) return;
    Object.assign(this.#state, changes);
    if (!this.#knowsStates) return this.#announcements.mute(this.#state.muted === true);
    // Without a session, the next connection begins with the whole state.
    if (!this.#ready && !this.#session) return;
    await this.#request('update', undefined, { data: changes });
  }

  chat(content) {
    return this.#act('chat', undefined, { content });
  }

  deleteChat(id) {
    return this.#act('chat-delete', undefined, { id });
  }

  /** Moderates: 'kick', 'mute', 'unban', 'ban' ({ until, keepInvite }), 'role' ({ role }), 'lock' ({ locked }). */
  moderate(act, userId, data = {}) {
    return this.#act(act, userId, data);
  }

  /** Reads the list of participants again, where the server does not push it. */
  refresh() {
    if (this.protocol !== PROTOCOL) this.#list.refresh();
  }

  /** Fetches ICE servers for `iceServers`. Concurrent callers wait for the same request; a failed one is repeated. */
  freshIceServers() {
    return this.#ice.fetch();
  }

  // ---- connection ----

  get #path() {
    return `rooms/${encodeURIComponent(this.#room)}`;
  }

  #open() {
    this.#forget();
    const url = new URL(`api/ws/${this.#path}`, this.#server);
    url.protocol = url.protocol.replace('http', 'ws');
    // The plain protocol: also send `ice-servers`, and this client keeps its peer connections.
    url.searchParams.set('notices', '1');
    if (this.#wasOpen) url.searchParams.set('resume', '1');
    if (this.#session) {
      url.searchParams.set('session', this.#session.token);
      url.searchParams.set('seq', this.#seq);
    }
    // The token travels as a subprotocol and not in the query: proxies write addresses to logs.
    const socket = new WebSocket(url, [PROTOCOL, 'bearer', this.#token.current]);
    this.#socket = socket;
    this.#token.opened();
    this.#deadline = setTimeout(() => socket.close(), TIMEOUT);
    socket.onopen = () => {
      if (socket !== this.#socket) return;
      clearTimeout(this.#deadline);
      // A server that accepts and then drops the connection must not get another attempt at once.
      this.#deadline = setTimeout(() => (this.#attempt = 0), STABLE_AFTER);
      this.protocol = socket.protocol === PROTOCOL ? PROTOCOL : 'plain';
      if (this.protocol === 'plain') this.#enterPlain(socket);
    };
    socket.onmessage = ({ data }) => socket === this.#socket && this.#receive(JSON.parse(data));
    socket.onclose = ({ code }) => socket === this.#socket && this.#closed(code);
  }

  /** The plain protocol has no first frame. */
  async #enterPlain(socket) {
    this.#end();
    this.#knowsStates = false;
    this.me = userOf(this.#token.current);
    const again = this.#wasOpen;
    this.#wasOpen = true;
    // A draining server accepts and closes connections; that says nothing about other participants.
    if (again) return (this.#lasting = setTimeout(() => this.#openPlain(true), LASTS_AFTER));
    this.#early = [];
    await this.#ice.fetch();
    if (socket === this.#socket) this.#openPlain(false);
  }

  #openPlain(again) {
    clearTimeout(this.#lasting);
    this.#lasting = undefined;
    this.#ready = true;
    this.#announcements.open(again);
    this.#on.open?.({ again, resumed: false });
    // The notice of another relay may have been missed.
    if (again && this.#ice.mayHaveChanged) this.#ice.fetch();
    this.#list.open();
    const early = this.#early ?? [];
    this.#early = undefined;
    for (const frame of early) this.#receive(frame);
  }

  #welcomed(data) {
    const again = this.#wasOpen;
    this.#wasOpen = true;
    this.#end();
    this.#session = data.resume;
    [this.me, this.role, this.info, this.limits] = [data.userId, data.role, data.room, data.limits];
    const gone = [...this.participants.keys()];
    this.participants = new Map(data.participants.map((one) => [one.userId, one]));
    this.#knowsStates = true;
    this.#ice.use(data.iceServers);
    this.#ready = true;
    this.#restoreState();
    this.#on.open?.({ again, resumed: false });
    for (const id of gone) if (!this.participants.has(id)) this.#on.left?.(id, 'absent');
    this.#on.roster?.(this.participants);
  }

  /** A new session begins with the state that the server has by default. */
  #restoreState() {
    const { displayName, state } = this.participants.get(this.me) ?? {};
    const known = { displayName, ...state };
    const changes = Object.entries(this.#state).filter(([key, value]) => known[key] !== value);
    if (changes.length > 0) this.send('update', undefined, { data: Object.fromEntries(changes) });
  }

  #resumed(data) {
    this.#session = data.resume;
    this.#ready = true;
    for (const text of this.#pending.texts) this.#write(text);
    // From now on only the new token resumes the session: an earlier attempt that arrives late ends nothing.
    this.#push('seen', undefined, { data: { seq: this.#seq } });
    this.#on.open?.({ again: true, resumed: true });
    this.#on.roster?.(this.participants);
  }

  #closed(code) {
    this.#forget();
    this.#socket = undefined;
    if (FINAL.has(code) || BAD_FRAME.has(code) || code === TOO_MUCH || !this.#session) this.#end();
    if (!FINAL.has(code)) return this.#later(code);
    this.#ice.stop();
    this.#on.closed?.(code);
  }

  #later(code) {
    // All clients of a room lose the server at the same moment. The random part keeps them from reconnecting at the
    // same moment.
    clearTimeout(this.#retry);
    const ceiling = Math.min(MAX_RETRY_DELAY, 500 * 2 ** this.#attempt++);
    const wait = (code === TOO_MUCH ? 10_000 : 0) + ceiling / 2 + (Math.random() * ceiling) / 2;
    this.#retry = setTimeout(() => this.#open(), wait);
    this.#on.lost?.(wait, code);
  }

  /** The connection is dead, but its socket may not know that yet. */
  #replace() {
    if (!this.#ready) return this.hurry();
    const socket = this.#socket;
    this.#on.lost?.(0, NO_CODE);
    this.#open();
    socket.close();
  }

  /** There is no connection. */
  #forget() {
    this.#check.lost();
    clearTimeout(this.#deadline);
    clearTimeout(this.#retry);
    clearTimeout(this.#lasting);
    this.#retry = this.#lasting = this.#early = this.protocol = undefined;
    this.#ready = false;
    this.#token.closed();
    this.#list.close();
    this.#announcements.lost();
  }

  /** There is no session to resume. */
  #end() {
    this.#session = undefined;
    this.#seq = this.#unseen = 0;
    this.#pending.end();
  }

  // ---- frames ----

  #receive(frame) {
    if (this.#early) return this.#early.push(frame);
    if (this.#lasting) this.#openPlain(true);
    if (this.protocol === PROTOCOL && frame.seq !== undefined && !this.#isNew(frame.seq)) return;
    const { type, from, data } = frame;
    switch (type) {
      case 'welcome':
        return this.#welcomed(data);
      case 'resumed':
        return this.#resumed(data);
      case 'ack':
      case 'error':
        return this.#pending.answer(frame);
      case 'user-joined':
        return this.#joined(from, data);
      case 'participant-updated':
        this.participants.set(from, { ...this.participants.get(from), ...data });
        return this.#on.updated?.(this.participants.get(from));
      case 'user-left':
        return this.#left(from, data?.reason);
      case 'offer':
      case 'answer':
      case 'ice-candidate':
        this.#meet(from);
        if (frame.page) this.#announcements.meet(from);
        return this.#on.signal?.(frame);
      case 'message':
        return this.#on.message?.(from, data);
      case 'chat':
        return this.#on.chat?.(data);
      case 'chat-deleted':
        return this.#on.chatDeleted?.(data.id);
      case 'mute':
        return this.#on.muted?.(from);
      case 'room-updated':
        this.info = data;
        return this.#on.roomUpdated?.(data);
      case 'ice-servers':
        return data ? this.#ice.use(data) : this.#ice.renew();
      case 'path-lost':
        return this.#on.pathLost?.();
      case 'token-expiring':
        return this.#token.expiring(data.in);
      default:
        return this.#on.frame?.(frame);
    }
  }

  /** A resumed session repeats frames, but none that has arrived. */
  #isNew(seq) {
    if (seq <= this.#seq) return false;
    this.#seq = seq;
    if (this.#session && ++this.#unseen >= SEEN_AFTER) {
      this.#unseen = 0;
      this.#push('seen', undefined, { data: { seq } });
    }
    return true;
  }

  #joined(id, data) {
    if (data?.page) {
      this.#announcements.meet(id);
      return this.#hears(id, data.muted === true);
    }
    const known = this.participants.get(id);
    // Only in `parlor.v1` it is the server's. An announcement of another client says nothing new there.
    const participant = this.protocol === PROTOCOL ? data?.participant : (known ?? unnamed(id));
    if (!participant) return;
    this.participants.set(id, participant);
    if (this.protocol === 'plain') {
      this.#list.changed(id);
      if (!known?.displayName) this.#list.refresh();
    }
    this.#on.joined?.(this.participants.get(id));
  }

  #left(id, reason) {
    this.participants.delete(id);
    this.#announcements.forget(id);
    this.#list.changed(id);
    this.#on.left?.(id, reason);
  }

  /** In the plain protocol, a frame may be the first sign of a participant. */
  #meet(id) {
    const known = this.participants.get(id);
    if (this.protocol === PROTOCOL || known?.displayName) return;
    if (!known) this.participants.set(id, unnamed(id));
    if (!known) this.#list.changed(id);
    this.#list.refresh();
  }

  #useList(list, changed) {
    for (const [id, reason] of applyList(this.participants, list, changed, this.me)) {
      this.#announcements.forget(id);
      this.#on.left?.(id, reason);
    }
    this.#on.roster?.(this.participants);
  }

  /** Another page has announced its state. */
  #hears(id, muted) {
    this.#meet(id);
    const known = this.participants.get(id);
    if (!known) return;
    known.state = { ...known.state, muted };
    this.#on.updated?.(known);
  }

  /** Sends a frame, again after a resumption. The promise waits for the answer, if the protocol has one. */
  #request(type, to, fields) {
    if (this.protocol === 'plain') return Promise.resolve(this.#push(type, to, fields));
    if (!this.#ready && !this.#session) return rejected('lost', 'Not connected');
    return this.#pending.add(this.#frame(type, to, fields), this.limits, (text) => this.#ready && this.#write(text));
  }

  async #act(type, to, data) {
    if (this.protocol !== 'plain') return this.#request(type, to, { data });
    const { method, path, body } = route(type, to, data);
    await this.#get(method, `${this.#path}/${path}`, body);
  }

  /** Sends a frame that has no answer. */
  #push(type, to, fields) {
    if (this.#ready) this.#write(JSON.stringify(this.#frame(type, to, fields)));
  }

  #frame(type, to, fields) {
    const page = type === 'offer' ? PAGE_MARK : undefined;
    return { type, from: this.me, roomId: this.#room, to, page, ...fields };
  }

  #write(text) {
    if (this.#socket?.readyState === WebSocket.OPEN) this.#socket.send(text);
  }

  // ---- HTTP ----

  async #refreshToken() {
    return (await this.#get('POST', 'auth/refresh')).access_token;
  }

  #get(method, path, object) {
    return request(this.#server, this.#token.current, method, path, object);
  }
}
