// Microphone, speaker and audio levels.

let context;

/** Starts audio. Browsers allow that only after a click, touch or key on the page. */
export function wake() {
  context ??= new AudioContext();
  if (context.state === 'suspended') context.resume().catch(() => {});
}

/** Whether the browser allows a microphone on this page: HTTPS and localhost only. */
export const microphonePossible = () => window.isSecureContext && Boolean(navigator.mediaDevices?.getUserMedia);

/** Whether the browser can select a speaker. */
export const speakerPossible = () => 'setSinkId' in HTMLMediaElement.prototype;

/** Returns the track of a microphone. `deviceId` "" is the system's default. */
export async function openMicrophone(deviceId) {
  const audio = { echoCancellation: true, noiseSuppression: true, autoGainControl: true };
  if (deviceId) audio.deviceId = { exact: deviceId };
  let stream;
  try {
    stream = await navigator.mediaDevices.getUserMedia({ audio });
  } catch (error) {
    // The microphone of the last visit is not connected: uses the default.
    if (deviceId && error.name === 'OverconstrainedError') return openMicrophone('');
    throw error;
  }
  return stream.getAudioTracks()[0];
}

/** The devices of a kind ("audioinput" or "audiooutput") as [{id, name}]. */
export async function devices(kind) {
  const all = (await navigator.mediaDevices?.enumerateDevices()) ?? [];
  return all
    .filter((device) => device.kind === kind && device.deviceId)
    .map((device, index) => ({ id: device.deviceId, name: device.label || `Device ${index + 1}` }));
}

/** Measures the level of a track. */
export class Meter {
  #source;
  #analyser;
  #samples;
  #smooth = 0;

  constructor(track) {
    wake();
    this.#source = context.createMediaStreamSource(new MediaStream([track]));
    this.#analyser = context.createAnalyser();
    this.#analyser.fftSize = 1024;
    this.#samples = new Float32Array(this.#analyser.fftSize);
    this.#source.connect(this.#analyser); // only: the <audio> element plays it
  }

  /** Returns 0 (silence) to 1 (loud). The level rises at once and falls slowly. */
  level() {
    this.#analyser.getFloatTimeDomainData(this.#samples);
    let sum = 0;
    for (const sample of this.#samples) sum += sample * sample;
    const decibels = 10 * Math.log10(sum / this.#samples.length + 1e-10);
    const level = Math.min(1, Math.max(0, (decibels + 55) / 45));
    this.#smooth = Math.max(level, this.#smooth * 0.9);
    return this.#smooth;
  }

  close() {
    this.#source.disconnect();
  }
}
