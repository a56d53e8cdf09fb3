// The WebSocket to the room, and reconnecting it.
//
// Frames are JSON: {type, from, roomId, to?, data?}. The server overwrites `from` and `roomId`. A newcomer
// receives nothing on arrival: the participants who are already in the room make the offer.

import { room, socketUrl } from './api.js';

/** Close codes after which the page must not reconnect by itself; strings.js has a text for each. */
export const CLOSED = { token: 4001, notIn: 4003, roomClosed: 4004, removed: 4005, elsewhere: 4009 };
const FINAL = new Set(Object.values(CLOSED));
const TOO_MUCH = 4008;
export const RESTARTING = 1012;

const MAX_RETRY_DELAY = 30_000;
const STABLE_AFTER = 10_000;

/** A reconnect counts once the connection has lasted this long, or a message has arrived. */
const LASTS_AFTER = 1_000;
const CONNECT_TIMEOUT = 15_000;

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
   * @param on.open(again)     connected, as a newcomer or (`again`) after a reconnect
   * @param on.frame(frame)    a frame was received
   * @param on.lost(milliseconds, code)  the connection is lost; the time until the next attempt
   * @param on.closed(code)    closed without a reconnect, see CLOSED
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

  /** Sends to one participant, or to all others if `to` is undefined. */
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

  /** Starts the next attempt at once, if one is scheduled. */
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
    // On a network that drops all packets, the attempt would hang for minutes.
    this.#deadline = setTimeout(() => socket.close(), CONNECT_TIMEOUT);
    socket.onopen = () => {
      clearTimeout(this.#deadline);
      // A server that accepts and then drops the connection must not get another attempt at once.
      this.#deadline = setTimeout(() => (this.#attempt = 0), STABLE_AFTER);
      const again = this.#wasOpen;
      this.#wasOpen = true;
      // A draining server accepts and closes connections; that says nothing about other participants.
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
    // All pages of a room lose the server at the same moment. The random part keeps them from
    // reconnecting at the same moment.
    const ceiling = Math.min(MAX_RETRY_DELAY, 500 * 2 ** this.#attempt++);
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
