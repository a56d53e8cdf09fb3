// Checks of the WebSocket of client.js: a path that is dead does not close it for minutes.

export class Check {
  #on;
  #running; // the promise of run()
  #cut; // ends the check of a connection that is lost

  /**
   * @param on.isOpen()    whether frames can be sent
   * @param on.ask()       a frame that the server answers (a promise)
   * @param on.replace()   the connection does not answer: opens another one
   */
  constructor(on) {
    this.#on = on;
  }

  /** Returns a promise of whether the server answers within this time. Concurrent callers wait for the same check. */
  run(milliseconds) {
    this.#running ??= this.#run(milliseconds).finally(() => (this.#running = undefined));
    return this.#running;
  }

  /** The connection is lost. */
  lost() {
    this.#cut?.();
  }

  async #run(milliseconds) {
    const answers = this.#on.isOpen() && (await this.#answers(milliseconds));
    if (!answers) this.#on.replace();
    return answers;
  }

  #answers(milliseconds) {
    const answer = this.#on.ask().then(() => true, () => false);
    const none = new Promise((resolve) => {
      this.#cut = () => resolve(false);
      setTimeout(this.#cut, milliseconds);
    });
    return Promise.race([answer, none]);
  }
}
