// Values that the page keeps between visits.
//
// A browser that blocks site data throws at every access; a browser with full storage throws at every
// write. Values that cannot be stored stay in memory until the page is closed.

class Storage {
  #name;
  #refused = new Map();

  constructor(name) {
    this.#name = name;
  }

  /** The value of a key, or null. */
  get(key) {
    if (this.#refused.has(key)) return this.#refused.get(key);
    try {
      return window[this.#name].getItem(key);
    } catch {
      return null;
    }
  }

  set(key, value) {
    try {
      window[this.#name].setItem(key, value);
      this.#refused.delete(key);
    } catch {
      this.#refused.set(key, value);
    }
  }
}

/** Lives as long as the tab. */
export const tab = new Storage('sessionStorage');

/** Outlives the tab. */
export const browser = new Storage('localStorage');
