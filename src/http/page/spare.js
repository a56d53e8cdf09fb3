// A peer connection that gathers candidates before there is a peer, so that the first call after a join connects sooner.

/** Without packets, a NAT may forget the mapping after 30 s. In milliseconds. */
const MAX_AGE = 25_000;

/** The time for candidates that are there already, in milliseconds. */
const READY_TIMEOUT = 20;

export class Spare {
  #pc;
  #made;
  #timer;

  /** Begins to gather with these ICE servers. Without a peer, the allocations end after MAX_AGE. */
  prepare(configuration) {
    this.close();
    this.#pc = new RTCPeerConnection({ ...configuration, iceCandidatePoolSize: 1 });
    this.#made = performance.now();
    this.#timer = setTimeout(() => this.close(), MAX_AGE);
  }

  /** Returns the connection for the caller to use, or undefined if there is none. */
  take() {
    const pc = this.#pc;
    // Timers of a tab in the background are late.
    if (!pc || performance.now() - this.#made > MAX_AGE) return this.close();
    clearTimeout(this.#timer);
    this.#pc = undefined;
    return pc;
  }

  close() {
    clearTimeout(this.#timer);
    this.#pc?.close();
    this.#pc = undefined;
  }
}

/** Waits for the candidates of a spare connection: they follow its first setLocalDescription() at once. */
export function ready(pc) {
  if (!(pc.getConfiguration().iceCandidatePoolSize > 0)) return undefined;
  return new Promise((resolve) => {
    setTimeout(resolve, READY_TIMEOUT);
    pc.addEventListener('icecandidate', () => afterTask(resolve), { once: true });
  });
}

/** Calls a function after the tasks that are queued now. A timer would be late in a tab in the background. */
function afterTask(callback) {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = callback;
  port2.postMessage(null);
}
