// Codecs in session descriptions.
//
// A description lists the codecs that its side prefers to receive, the best one first.

const isRed = ({ mimeType }) => mimeType.toLowerCase() === 'audio/red';

/** Whether this browser knows redundant audio (`audio/red`, RFC 2198). */
const knowsRed = () => (RTCRtpReceiver.getCapabilities('audio')?.codecs ?? []).some(isRed);

/**
 * Sets whether our descriptions ask for redundant audio from the next one on. Without an order of our own, an answer
 * would have that of the offer.
 */
export function prefer(transceiver, redundant) {
  if (!knowsRed()) return;
  const { codecs } = RTCRtpReceiver.getCapabilities('audio');
  const [red, others] = [codecs.filter(isRed), codecs.filter((codec) => !isRed(codec))];
  transceiver.setCodecPreferences(redundant ? [...red, ...others] : [others[0], ...red, ...others.slice(1)]);
}

/** Whether the sides of a connection can send redundant audio. */
export const canBeRedundant = (description) => knowsRed() && /^a=rtpmap:\d+ red\/48000/im.test(description?.sdp ?? '');

/** Returns an SDP that asks for discontinuous transmission (`usedtx`, RFC 7587 §3.1.3): Opus sends little in silence. */
export function withDtx(sdp) {
  const type = /^a=rtpmap:(\d+) opus\/48000/im.exec(sdp)?.[1];
  if (type === undefined) return sdp;
  const parameters = new RegExp(`^a=fmtp:${type} .*$`, 'm');
  if (!parameters.test(sdp)) return sdp.replace(new RegExp(`^a=rtpmap:${type} .*$`, 'm'), `$&\r\na=fmtp:${type} usedtx=1`);
  const set = (line) => (/usedtx=/.test(line) ? line.replace(/usedtx=\d/, 'usedtx=1') : `${line};usedtx=1`);
  return sdp.replace(parameters, set);
}
