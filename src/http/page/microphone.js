// The user's microphone: which one is open, and whether it is muted.

import { microphonePossible, openMicrophone } from './sound.js';
import * as storage from './storage.js';
import * as strings from './strings.js';
import * as ui from './ui.js';

const CHOICE = 'parlor microphone';

export class Microphone {
  /** Whether the user has muted it. */
  muted = false;

  #track = null;
  #on;

  /**
   * @param on.track(track)   sends the audio of this track from now on; null: none (a promise)
   * @param on.changed()      the microphone was opened, closed, muted or unmuted
   */
  constructor(on) {
    this.#on = on;
  }

  get isOpen() {
    return this.#track !== null;
  }

  /** Opens the microphone in its step of the page, which shows what went wrong. */
  async ask() {
    if (!microphonePossible()) return ui.microphoneStep({ problem: strings.insecure, retry: false });
    ui.microphoneStep({ hint: 'Your browser asks for permission to use the microphone. Please allow it.' });
    try {
      await this.#openLast();
      ui.microphoneStep({});
    } catch (error) {
      ui.microphoneStep({ problem: strings.microphone(error) });
    }
  }

  /** Opens the microphone again, without questions. */
  async reopen() {
    if (microphonePossible()) await this.#openLast().catch(() => this.close());
  }

  close() {
    this.#track?.stop();
    this.#track = null;
    ui.ownVoice(null);
    this.#on.changed();
    this.#on.track(null);
  }

  async toggleMute() {
    if (!this.#track && microphonePossible()) {
      // The user has been listening only.
      this.muted = false;
      ui.say('room-problem', '');
      return this.#open('').catch((error) => ui.say('room-problem', strings.microphone(error)));
    }
    if (!this.#track) return ui.say('room-problem', strings.insecure);
    this.muted = !this.muted;
    this.#track.enabled = !this.muted;
    this.#on.changed();
  }

  /** Opens the chosen one of a list, now and at the next visit. */
  async choose(event) {
    const id = event.target.value;
    ui.say('settings-problem', '');
    try {
      await this.#open(id);
      storage.browser.set(CHOICE, id);
    } catch (error) {
      ui.say('settings-problem', strings.microphone(error));
    }
  }

  listDevices() {
    return ui.listDevices(this.#track?.getSettings().deviceId);
  }

  #openLast() {
    return this.#open(storage.browser.get(CHOICE) ?? '');
  }

  async #open(deviceId) {
    const next = await openMicrophone(deviceId);
    this.#track?.stop();
    this.#track = next;
    next.enabled = !this.muted;
    next.addEventListener('ended', () => next === this.#track && this.#unplugged());
    ui.ownVoice(next);
    this.#on.changed();
    await this.#on.track(next);
    await this.listDevices();
  }

  /** The microphone was disconnected: uses the system's default instead. */
  async #unplugged() {
    ui.news('Your microphone was disconnected.');
    try {
      await this.#open('');
    } catch (error) {
      this.close();
      ui.say('room-problem', strings.microphone(error));
    }
  }
}
