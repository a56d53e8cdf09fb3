// The WebSocket to the room, and coming back to it.
//
// Frames are JSON: {type, from, roomId, to?, data?}. The server stamps `from` and `roomId` with
// what it knows, whatever we write. A newcomer is sent nothing on arrival: those who are already
// here make the offer.

import { room, socketUrl } from './api.js';

/** Close codes after which coming back by itself would be wrong; strings.js has a text for each. */
export const CLOSED = { token: 4001, notIn: 4003, roomClosed: 4004, removed: 4005, elsewhere: 4009 };
const FINAL = new Set(Object.values(CLOSED));
const TOO_MUCH = 4008;
export const RESTARTING = 1012;

const LONGEST_WAIT = 30_000;
const STABLE_AFTER = 10_000;

/** A reconnect counts once the connection has lasted this long, or a message has arrived. */
const LASTS_AFTER = 1_000;
const PATIENCE = 15_000;

export class Signaling {
  #socket;
  #token;
  #me;
  #wasOpen = false;
  #attempt = 0;
  #retry; // the timer of the next attempt
  #deadline; // the timer of this one
  #lasting; // runs after a reconnect
  #on;

  /**
   * @param on.open(again)     connected: we are a newcomer, or are back and may go on
   * @param on.frame(frame)    something arrived
   * @param on.lost(milliseconds, code)  the connection is lost; the time until the next attempt
   * @param on.closed(code)    it is gone for good, see CLOSED
   */
  constructor(on) {
    this.#on = on;
  }

  connect(token, me) {
    this.#token = token;
    this.#me = me;
    this.#wasOpen = false;
    this.#open();
  }

  /** Sends to one person, or to everybody else when `to` is left out. */
  send(type, to, fields) {
    if (this.#socket?.readyState !== WebSocket.OPEN) return;
    this.#socket.send(JSON.stringify({ type, from: this.#me, roomId: room, to, ...fields }));
  }

  /** After `closed`: tries again later, since the request to recover got no answer. */
  retry(token, me) {
    this.#token = token;
    this.#me = me;
    this.#later(0);
  }

  /** Does not wait for the next attempt, if one is being waited for. */
  hurry() {
    if (this.#retry) this.#open();
  }

  close() {
    this.#forget();
    this.#socket?.close(1000);
    this.#socket = undefined;
  }

  #open() {
    this.#forget();
    // The token travels as a subprotocol and not in the query: proxies write addresses to logs.
    const socket = new WebSocket(socketUrl(this.#wasOpen), ['bearer', this.#token]);
    this.#socket = socket;
    // On a network that swallows everything, the attempt would hang for minutes.
    this.#deadline = setTimeout(() => socket.close(), PATIENCE);
    socket.onopen = () => {
      clearTimeout(this.#deadline);
      // A server that takes us in and drops us at once must not be asked again at once.
      this.#deadline = setTimeout(() => (this.#attempt = 0), STABLE_AFTER);
      const again = this.#wasOpen;
      this.#wasOpen = true;
      // A draining server does this, and its messages meanwhile say nothing about other participants.
      if (again) this.#lasting = setTimeout(() => this.#lasts(), LASTS_AFTER);
      else this.#on.open(false);
    };
    socket.onmessage = ({ data }) => {
      if (socket !== this.#socket) return;
      this.#lasts();
      this.#on.frame(JSON.parse(data));
    };
    socket.onclose = ({ code }) => {
      if (socket === this.#socket) this.#closed(code);
    };
  }

  #closed(code) {
    this.#forget();
    this.#socket = undefined;
    if (FINAL.has(code)) return this.#on.closed(code);
    this.#later(code);
  }

  #later(code) {
    // Everybody in a room loses the server at the same moment. The random part keeps them from
    // coming back at the same moment, too.
    const ceiling = Math.min(LONGEST_WAIT, 500 * 2 ** this.#attempt++);
    const wait = (code === TOO_MUCH ? 10_000 : 0) + ceiling / 2 + (Math.random() * ceiling) / 2;
    this.#retry = setTimeout(() => this.#open(), wait);
    this.#on.lost(wait, code);
  }

  /** The page has reconnected. */
  #lasts() {
    if (!this.#lasting) return;
    clearTimeout(this.#lasting);
    this.#lasting = undefined;
    this.#on.open(true);
  }

  #forget() {
    clearTimeout(this.#deadline);
    clearTimeout(this.#retry);
    clearTimeout(this.#lasting);
    this.#retry = this.#lasting = undefined;
  }
}
