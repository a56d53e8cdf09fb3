// One RTCPeerConnection: audio to and from one other participant.
//
// Offers may cross ("glare"), most often when both sides restart ICE after the same failure. The
// page uses "perfect negotiation": the polite side of each pair rolls its own offer back, the other
// side ignores the crossing offer. The two ids decide which side is polite.

import { PathWatch } from './client_path.js';
import { canBeRedundant, prefer, withDtx } from './codecs.js';
import { Redundancy } from './redundancy.js';

/** A connection that takes longer has failed. */
const CONNECT_TIMEOUT = 20_000;

/** After a change of the relay, one side waits this long for the offer of the other. */
const MOVE_TIMEOUT = 2_000;

export class Peer {
  /** The id of this pair of connections, by which messages of an earlier pair are ignored. */
  call;
  /** connecting · connected · interrupted · failed */
  state = 'connecting';
  /** Whether the call is older than the signaling connection: the other side may not know it. */
  kept = false;
  /** Whether our offer continues a call that the other side may not know. */
  again = false;
  /** Whether the other side names its calls, too. */
  named = false;

  #pc;
  #polite;
  #on;
  #voice;
  #dtx;
  #transceiver; // the only one
  #makingOffer = false;
  #describing = 0; // descriptions that are about to be sent
  #ignoring = false;
  #work = Promise.resolve();
  #timer;
  #moving; // the timer of the side that waits for the other's offer
  #closed = false;
  #gathered = new Set();
  #refused = false;
  #wasConnected = false;
  #watch;
  #redundancy = new Redundancy();
  #lease; // of the servers for the next gathering
  #used; // that of the last one
  #isDue = false; // whether our next description differs from the last one

  /**
   * @param configuration      the result of GET /api/ice-servers
   * @param lease              how long allocations with its servers last, see lease.js
   * @param voice              {track, stream} to send; a null track sends silence
   * @param dtx                whether both sides send little in silence
   * @param polite             whether this side rolls its own offer back
   * @param on.send(type, data)   to the other side
   * @param on.track(track)    the other side's audio
   * @param on.state()         `state` changed
   * @param on.restart()       calls configure() with fresh credentials (a promise)
   * @param on.check(ms)       whether the server answers on the signaling connection (a promise)
   * @param on.isOpen()        whether the signaling connection is open
   */
  constructor({ call, configuration, lease, voice, dtx, polite, on }) {
    this.call = call;
    this.#polite = polite;
    this.#voice = voice;
    this.#dtx = dtx;
    this.#lease = lease;
    this.#on = on;
    const pc = new RTCPeerConnection(configuration);
    this.#pc = pc;
    pc.onnegotiationneeded = () => this.#offer();
    // An empty candidate marks the end of gathering and need not be sent.
    pc.onicecandidate = ({ candidate }) => candidate?.candidate && this.#found(candidate);
    pc.onicecandidateerror = ({ url, errorCode }) => (this.#refused ||= isRelay(url) && errorCode === 401);
    pc.ontrack = ({ track }) => track.kind === 'audio' && on.track(track);
    pc.onconnectionstatechange = () => this.#changed();
    this.#watch = new PathWatch(pc, { check: on.check, isOpen: on.isOpen, dead: () => this.#gatherAgain() });
    this.#expect();
  }

  /** Makes the offer, as the side that was in the room first. */
  invite() {
    // One transceiver for both directions, even without a microphone: a track that comes later
    // needs no new negotiation.
    const { track, stream } = this.#voice;
    this.#transceiver = this.#pc.addTransceiver(track ?? 'audio', { direction: 'sendrecv', streams: [stream] });
    prefer(this.#transceiver, this.#redundancy.isOn);
  }

  /** Whether our own offer is out and unanswered. */
  get offering() {
    return this.#makingOffer || this.#pc.signalingState === 'have-local-offer';
  }

  /** Whether the other side has ever answered. */
  get answered() {
    return this.#pc.remoteDescription !== null;
  }

  /** Whether audio flows, or did a moment ago. */
  get works() {
    return this.state === 'connected' || this.state === 'interrupted';
  }

  /** Restarts ICE while the current path works: after a restart the server may have another relay. */
  async renew() {
    this.kept = false;
    this.again = true;
    await this.#on.restart();
    if (!this.#closed) this.#restartIce();
  }

  /**
   * The relay that we have used may be lost: restarts ICE, so that candidates of the new one are gathered. The other
   * side learns of it at the same time. Only one side begins, unless its offer does not arrive.
   */
  relayChanged() {
    clearTimeout(this.#moving);
    if (!this.#polite) return this.#gatherAgain();
    const before = this.#credentials;
    this.#moving = setTimeout(() => this.#credentials === before && this.#gatherAgain(), MOVE_TIMEOUT);
  }

  /** The relay reports that nothing comes from us: restarts ICE if our own statistics agree. */
  pathLost() {
    this.#watch.hint();
  }

  /**
   * What the other side's audio has been like: [{ ssrc, packets, lost, jitterMs }]. Asks for redundant audio while
   * packets are lost.
   */
  async received() {
    const stats = [...(await this.#pc.getStats()).values()].filter(({ type }) => type === 'inbound-rtp');
    const received = stats.map(({ ssrc, packetsReceived: packets, packetsLost, jitter }) => {
      // Duplicates make the loss negative.
      return { ssrc, packets, lost: Math.max(0, packetsLost), jitterMs: Math.round(jitter * 1000) };
    });
    this.#adapt(received);
    this.#renegotiate();
    return received;
  }

  #adapt(received) {
    if (!canBeRedundant(this.#pc.remoteDescription)) return;
    const sum = (key) => received.reduce((total, one) => total + one[key], 0);
    if (this.#redundancy.take({ packets: sum('packets'), lost: sum('lost') }, performance.now())) {
      prefer(this.#transceiver, this.#redundancy.isOn);
      this.#isDue = true;
    }
  }

  /** Sets whether both sides send little in silence. */
  setDtx(dtx) {
    if (this.#dtx === dtx) return;
    this.#dtx = dtx;
    this.#isDue = true;
    this.#renegotiate();
  }

  /** Makes an offer if our next description differs. With any other offer or answer, that goes along. */
  #renegotiate() {
    const isFree = this.state === 'connected' && this.#pc.signalingState === 'stable' && !this.#makingOffer;
    // A frontend that names no calls may begin another one at each offer; a lost session may have ended the call.
    if (this.#isDue && isFree && this.named && !this.kept && this.#on.isOpen()) this.#offer();
  }

  /** The other side may stop sending. */
  mayPause() {
    this.#watch.mayPause();
  }

  /** An offer that is out has candidates of the earlier relay: another one follows its answer. */
  #gatherAgain() {
    if (this.#closed) return;
    if (this.offering) this.repeat();
    this.#pc.restartIce();
  }

  /** Our side's ICE credentials, which change when ICE restarts. */
  get #credentials() {
    return /^a=ice-ufrag:(.*)$/m.exec(this.#pc.localDescription?.sdp ?? '')?.[1];
  }

  /** Sends our offer again, in case the other side did not receive it. */
  repeat() {
    if (this.#pc.signalingState === 'have-local-offer') this.#send('offer', this.#pc.localDescription);
  }

  /**
   * Whether an offer belongs to the same peer connection of the other side as earlier messages: a
   * connection keeps the session id of its SDP (RFC 9429 §5.2.2).
   */
  continuedBy(data) {
    const known = this.#pc.remoteDescription;
    return !known || sessionId(known.sdp) === sessionId(data?.sdp);
  }

  /** Handles a frame, one after the other: a candidate must not overtake its offer. */
  take(type, data) {
    this.#work = this.#work.then(() => this.#take(type, data)).catch((error) => this.#warn(error));
  }

  /** Sends another track (or null) from now on. */
  setTrack(track) {
    this.#voice.track = track;
    return this.#transceiver?.sender.replaceTrack(track);
  }

  /** Sets fresh credentials, which ICE uses from the next gathering on: now, if our allocations will end. */
  configure(configuration, lease) {
    this.#pc.setConfiguration(configuration);
    this.#lease = lease;
    if (this.#used?.isDue) this.#gatherAgain();
  }

  /** Why there is no connection: lost · refused · unreachable · no-relay · other. */
  get diagnosis() {
    if (this.#wasConnected) return 'lost';
    if (this.#gathered.has('relay')) return 'other';
    if (this.#refused) return 'refused';
    const urls = this.#pc.getConfiguration().iceServers.flatMap((server) => server.urls);
    return urls.some(isRelay) ? 'unreachable' : 'no-relay';
  }

  close() {
    this.#closed = true;
    clearTimeout(this.#timer);
    clearTimeout(this.#moving);
    this.#watch.stop();
    this.#pc.close();
  }

  async #offer() {
    try {
      this.#makingOffer = true;
      await this.#describe('offer');
    } catch (error) {
      this.#warn(error);
    } finally {
      this.#makingOffer = false;
    }
  }

  async #take(type, data) {
    if (this.#closed || !data) return;
    const pc = this.#pc;
    if (type === 'ice-candidate') {
      // Candidates of an ignored offer match no description.
      return pc.addIceCandidate(candidate(data)).catch((error) => this.#ignoring || this.#warn(error));
    }
    // Some frontends send the SDP alone: the message type says whether it is an offer or an answer.
    const description = { type, sdp: this.#dtx ? withDtx(data.sdp) : data.sdp };
    if (type === 'answer') {
      if (pc.signalingState !== 'have-local-offer') return;
      await pc.setRemoteDescription(description);
      this.again = false;
      return;
    }
    const crossed = this.#makingOffer || pc.signalingState !== 'stable';
    this.#ignoring = crossed && !this.#polite;
    if (this.#ignoring) return;
    await pc.setRemoteDescription(description); // rolls back our own offer, if there is one
    await this.#sendAudio();
    await this.#describe('answer');
  }

  /** Sets our own description and sends it, with the candidates that are there already. */
  async #describe(type) {
    this.#describing++;
    try {
      this.#isDue = false;
      const [before, lease] = [this.#credentials, this.#lease];
      await this.#pc.setLocalDescription();
      if (this.#credentials !== before) this.#used = lease;
      const { pendingLocalDescription, currentLocalDescription } = this.#pc;
      const description = type === 'offer' ? pendingLocalDescription : currentLocalDescription;
      // The other side's offer may have taken the place of ours meanwhile.
      if (description && !this.#closed) this.#send(type, description);
    } finally {
      this.#describing--;
    }
  }

  /** Sends a description. The wish in ours is about what the other side sends; `#take` adds it to theirs. */
  #send(type, { sdp }) {
    this.#on.send(type, { type, sdp: this.#dtx ? withDtx(sdp) : sdp });
  }

  /** The other side's offer has made a transceiver that only receives: adds our audio to it. */
  async #sendAudio() {
    const transceiver = this.#pc.getTransceivers().find((t) => t.receiver.track.kind === 'audio');
    if (!transceiver) return;
    transceiver.direction = 'sendrecv';
    transceiver.sender.setStreams?.(this.#voice.stream);
    if (transceiver !== this.#transceiver) prefer(transceiver, this.#redundancy.isOn);
    this.#transceiver = transceiver;
    await transceiver.sender.replaceTrack(this.#voice.track);
  }

  #found(candidate) {
    this.#gathered.add(candidate.type);
    if (this.#describing > 0) return; // the description that is sent next contains it
    this.#on.send('ice-candidate', candidate.toJSON());
  }

  #changed() {
    switch (this.#pc.connectionState) {
      case 'connected':
        clearTimeout(this.#timer);
        this.#wasConnected = true;
        this.#watch.start();
        return this.#become('connected');
      case 'disconnected':
        // Often temporary. If not, "failed" follows.
        return this.#become('interrupted');
      case 'failed':
        return this.#restart();
    }
  }

  /** No route was found, or it was lost: gathers again, with fresh credentials. */
  async #restart() {
    this.#become('failed');
    if (!this.answered) return; // the other side has never answered
    await this.#on.restart();
    if (this.#closed) return;
    this.#restartIce();
    this.#expect();
  }

  /** A pending offer already restarts ICE, and no other offer is possible before its answer. */
  #restartIce() {
    if (this.offering) this.repeat();
    else this.#pc.restartIce();
  }

  /** Without candidates from the other side ICE may wait for ever, so a timer decides. */
  #expect() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#restart(), CONNECT_TIMEOUT);
  }

  #become(state) {
    if (this.#closed || this.state === state) return;
    this.state = state;
    this.#on.state();
  }

  #warn(error) {
    if (!this.#closed) console.warn('negotiation:', error);
  }
}

/** Assigns a candidate without a media section to the first section, which is the only one. */
function candidate(data) {
  const named = (data.sdpMid ?? data.sdpMLineIndex ?? null) !== null;
  return named ? data : { ...data, sdpMLineIndex: 0 };
}

/** The second field of the line `o=` (RFC 8866 §5.2). */
const sessionId = (sdp) => /^o=\S+ (\S+)/m.exec(sdp)?.[1];

const isRelay = (url) => /^turns?:/.test(url);
