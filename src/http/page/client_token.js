// The token of client.js, and its replacement before it ends.

import { warn } from './client_pending.js';

/** The pause before a failed renewal is tried again. */
const RETRY_AFTER = 5_000;

export class Token {
  /** The token for the next connection, and for HTTP. */
  current;

  #sent; // the token of the connection
  #expires = false; // whether the server has warned of its end
  #timer;
  #on;

  /**
   * @param on.renew(seconds)   returns a promise of another token, before the current one ends
   * @param on.handIn(token)    replaces the token of the connection (a promise)
   */
  constructor(on) {
    this.#on = on;
  }

  /** Uses another token from now on. The connection gets it when its own one expires. */
  set(token) {
    this.current = token;
    if (this.#expires && token !== this.#sent) this.#handIn(token);
  }

  /** A connection is opened with the current token. */
  opened() {
    this.#forget();
    this.#sent = this.current;
  }

  /** There is no connection. */
  closed() {
    this.#forget();
    this.#sent = undefined;
  }

  /** The server warns of the end of the connection's token. */
  async expiring(seconds) {
    this.#expires = true;
    const sent = this.#sent;
    if (this.current !== sent) return this.#handIn(this.current);
    const end = performance.now() + seconds * 1000;
    try {
      const token = await this.#on.renew(seconds);
      if (token) this.set(token);
      // In the second in which a token was issued, another one is the same.
      if (token !== sent) return;
    } catch (error) {
      warn(error);
      if (error.status >= 400 && error.status < 500 && error.status !== 429) return;
    }
    const left = end - performance.now() - RETRY_AFTER;
    if (left <= 0 || this.#sent !== sent) return;
    this.#timer = setTimeout(() => this.expiring(left / 1000), RETRY_AFTER);
  }

  async #handIn(token) {
    const before = this.#sent;
    this.#forget();
    this.#sent = token;
    try {
      await this.#on.handIn(token);
    } catch (error) {
      warn(error);
      // Another token may still be handed in. With a later connection, this is the past.
      if (this.#sent !== token || error.code === 'lost') return;
      this.#sent = before;
      this.#expires = true;
    }
  }

  #forget() {
    clearTimeout(this.#timer);
    this.#expires = false;
  }
}
