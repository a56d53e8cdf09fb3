// The ICE servers of client.js, which are replaced before they expire.

import { warn } from './client_pending.js';

/** The pause after a failed request, in seconds. */
const RETRY_AFTER = 60;
/** The same while the relay is another one than that of the current servers. */
const RETRY_AFTER_LOSS = 2;
/** The minimum of seconds between two requests: the credential of a guest may be about to end. */
const MIN_PAUSE = 1;

export class IceServers {
  #current;
  #fetching; // the request, if there is one
  #relayLost = false;
  #timer;
  #on;

  /**
   * @param on.get()          requests ICE servers (a promise)
   * @param on.use(servers)   gets each of them
   * @param on.isNeeded()     whether there is a connection, or will be one
   */
  constructor(on) {
    this.#on = on;
  }

  /** Whether a change of the servers may have been missed without a connection. */
  get mayHaveChanged() {
    return this.#current?.relay !== undefined || !this.#timer;
  }

  /** Uses these servers from now on, and fetches others before they expire. */
  use(servers) {
    this.#current = servers;
    this.#relayLost = false;
    this.#fetchAfter(servers.ttl * 0.8);
    this.#on.use(servers);
  }

  /** Concurrent callers wait for the same request; a failed one is repeated. */
  fetch() {
    this.#fetching ??= this.#fetch().finally(() => (this.#fetching = undefined));
    return this.#fetching;
  }

  /** The servers have changed: the answer to a request from before may not say so. */
  async renew() {
    this.#relayLost = true;
    await this.#fetching;
    await this.fetch();
  }

  stop() {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  async #fetch() {
    clearTimeout(this.#timer);
    try {
      this.use(await this.#on.get());
    } catch (error) {
      warn(error);
      this.#fetchAfter(this.#relayLost ? RETRY_AFTER_LOSS : RETRY_AFTER);
    }
  }

  #fetchAfter(seconds) {
    clearTimeout(this.#timer);
    if (!this.#on.isNeeded()) return;
    const pause = Math.min(Math.max(seconds, MIN_PAUSE) * 1000, 2 ** 31 - 1);
    this.#timer = setTimeout(() => this.fetch(), pause);
  }
}
