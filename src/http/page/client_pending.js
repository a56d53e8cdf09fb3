// Frames of client.js that wait for the server's answer, an `ack` or an `error`. They are sent again after a
// resumption, all at once.

/** The server remembers as many ids. */
const MAX_FRAMES = 256;

export class Pending {
  #frames = new Map(); // id → { text, bytes, resolve, reject }
  #bytes = 0;
  #ids = 0;

  /** The texts of all frames, in order. */
  get texts() {
    return [...this.#frames.values()].map(({ text }) => text);
  }

  /**
   * Adds a frame and gives it an id. Returns a promise of its answer.
   *
   * @param limits      those of the `welcome`: more would close the connection
   * @param send(text)
   */
  add(frame, limits, send) {
    const id = String(++this.#ids);
    const text = JSON.stringify({ ...frame, id });
    const bytes = new TextEncoder().encode(text).length;
    if (bytes > limits.maxMessageBytes) return rejected('too-large', 'The frame is larger than the server accepts');
    const isFull = this.#frames.size >= MAX_FRAMES || (this.#bytes > 0 && this.#bytes + bytes > maxBytes(limits));
    if (isFull) return rejected('too-many', 'Too many frames without an answer');
    this.#bytes += bytes;
    return new Promise((resolve, reject) => {
      this.#frames.set(id, { text, bytes, resolve, reject });
      send(text);
    });
  }

  /** Handles an `ack` or an `error`. */
  answer({ type, ref, data }) {
    const frame = this.#frames.get(ref);
    if (type === 'error' && !frame) return warn(failure(data.code, data.message));
    if (!frame) return;
    this.#frames.delete(ref);
    this.#bytes -= frame.bytes;
    if (type === 'ack') frame.resolve();
    else frame.reject(failure(data.code, data.message));
  }

  /** The session has ended: there are no answers. */
  end() {
    for (const { reject } of this.#frames.values()) reject(failure('lost', 'The session has ended'));
    this.#frames.clear();
    this.#bytes = 0;
  }
}

/** Other frames need a part of the burst. */
const maxBytes = ({ byteBurst }) => byteBurst / 2;

export const failure = (code, message) => Object.assign(new Error(message), { code });

export const rejected = (code, message) => Promise.reject(failure(code, message));

export const warn = (error) => console.warn('parlor:', error);
