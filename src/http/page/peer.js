// One RTCPeerConnection: our voice to one other person, and theirs to us.
//
// Offers may cross ("glare"), most of all when both sides restart ICE after the same failure. The
// rule is "perfect negotiation": one side of each pair is polite and takes its own offer back, the
// other insists. Which is which follows from the two ids, so both sides agree without asking.

/** How long a connection may take before we say that there is none. */
const PATIENCE = 20_000;

export class Peer {
  /** Names this pair of connections; answers and candidates of an earlier pair are ignored by it. */
  call;
  /** connecting · connected · interrupted · failed */
  state = 'connecting';
  /** Whether the call is older than the connection to the server: the other side may not know it. */
  kept = false;
  /** Whether our offer continues a call that the other side may not know. */
  again = false;
  /** Whether the other side names its calls, too. */
  named = false;

  #pc;
  #polite;
  #on;
  #voice;
  #sender;
  #makingOffer = false;
  #ignoring = false;
  #work = Promise.resolve();
  #timer;
  #closed = false;
  #gathered = new Set();
  #refused = false;
  #wasConnected = false;

  /**
   * @param configuration      what GET /api/ice-servers said
   * @param voice              {track, stream}: what we send; a null track sends silence
   * @param polite             whether our offer gives way
   * @param on.send(type, data)   to the other side
   * @param on.track(track)    the other side's voice
   * @param on.state()         `state` changed
   * @param on.restart()       calls configure() with fresh credentials (a promise)
   */
  constructor({ call, configuration, voice, polite, on }) {
    this.call = call;
    this.#polite = polite;
    this.#voice = voice;
    this.#on = on;
    const pc = new RTCPeerConnection(configuration);
    this.#pc = pc;
    pc.onnegotiationneeded = () => this.#offer();
    // An empty candidate says "that was all", which nobody needs to hear.
    pc.onicecandidate = ({ candidate }) => candidate?.candidate && this.#found(candidate);
    pc.onicecandidateerror = ({ url, errorCode }) => (this.#refused ||= isRelay(url) && errorCode === 401);
    pc.ontrack = ({ track }) => track.kind === 'audio' && on.track(track);
    pc.onconnectionstatechange = () => this.#changed();
    this.#expect();
  }

  /** We were here first: make the offer. */
  invite() {
    // One transceiver for both directions, even without a microphone: a track that comes later
    // needs no new negotiation.
    const { track, stream } = this.#voice;
    const transceiver = this.#pc.addTransceiver(track ?? 'audio', { direction: 'sendrecv', streams: [stream] });
    this.#sender = transceiver.sender;
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

  /** Restarts ICE while the current path works: the server is a new one, and so may be its relay. */
  async renew() {
    this.kept = false;
    this.again = true;
    await this.#on.restart();
    if (!this.#closed) this.#lookAgain();
  }

  /** Sends our offer again, in case the other side did not receive it. */
  repeat() {
    if (this.#pc.signalingState === 'have-local-offer') this.#on.send('offer', this.#pc.localDescription);
  }

  /**
   * Whether an offer belongs to the same peer connection of the other side as earlier messages: a
   * connection keeps the session id of its SDP (RFC 9429 §5.2.2).
   */
  continuedBy(data) {
    const known = this.#pc.remoteDescription;
    return !known || sessionId(known.sdp) === sessionId(data?.sdp);
  }

  /** A frame from the other side. One after the other: a candidate must not overtake its offer. */
  take(type, data) {
    this.#work = this.#work.then(() => this.#take(type, data)).catch((error) => this.#trouble(error));
  }

  /** Sends another track (or null) from now on. */
  setTrack(track) {
    this.#voice.track = track;
    return this.#sender?.replaceTrack(track);
  }

  /** Fresh credentials; they count from the next time ICE gathers. */
  configure(configuration) {
    this.#pc.setConfiguration(configuration);
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
    this.#pc.close();
  }

  async #offer() {
    try {
      this.#makingOffer = true;
      await this.#pc.setLocalDescription();
      this.#on.send('offer', this.#pc.localDescription);
    } catch (error) {
      this.#trouble(error);
    } finally {
      this.#makingOffer = false;
    }
  }

  async #take(type, data) {
    if (this.#closed || !data) return;
    const pc = this.#pc;
    if (type === 'ice-candidate') {
      // Candidates of an offer that we ignored fit nothing.
      return pc.addIceCandidate(candidate(data)).catch((error) => this.#ignoring || this.#trouble(error));
    }
    // Some frontends send the SDP alone: the message type says whether it is an offer or an answer.
    const description = { type, sdp: data.sdp };
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
    await this.#speak();
    await pc.setLocalDescription();
    this.#on.send('answer', pc.localDescription);
  }

  /** The other side's offer made a transceiver that only receives: put our voice on it. */
  async #speak() {
    const transceiver = this.#pc.getTransceivers().find((t) => t.receiver.track.kind === 'audio');
    if (!transceiver) return;
    transceiver.direction = 'sendrecv';
    transceiver.sender.setStreams?.(this.#voice.stream);
    this.#sender = transceiver.sender;
    await this.#sender.replaceTrack(this.#voice.track);
  }

  #found(candidate) {
    this.#gathered.add(candidate.type);
    this.#on.send('ice-candidate', candidate.toJSON());
  }

  #changed() {
    switch (this.#pc.connectionState) {
      case 'connected':
        clearTimeout(this.#timer);
        this.#wasConnected = true;
        return this.#become('connected');
      case 'disconnected':
        // Often over in a moment. If not, "failed" follows.
        return this.#become('interrupted');
      case 'failed':
        return this.#restart();
    }
  }

  /** No way was found, or it was lost: look again, with fresh credentials. */
  async #restart() {
    this.#become('failed');
    if (!this.answered) return; // there is nobody to restart with
    await this.#on.restart();
    if (this.#closed) return;
    this.#lookAgain();
    this.#expect();
  }

  /** A pending offer already restarts ICE, and no other offer is possible before its answer. */
  #lookAgain() {
    if (this.offering) this.repeat();
    else this.#pc.restartIce();
  }

  /** Without candidates from the other side ICE may wait for ever: the clock decides. */
  #expect() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#restart(), PATIENCE);
  }

  #become(state) {
    if (this.#closed || this.state === state) return;
    this.state = state;
    this.#on.state();
  }

  #trouble(error) {
    if (!this.#closed) console.warn('negotiation:', error);
  }
}

/** A candidate without a media section belongs to the first one: there is no other. */
function candidate(data) {
  const named = (data.sdpMid ?? data.sdpMLineIndex ?? null) !== null;
  return named ? data : { ...data, sdpMLineIndex: 0 };
}

/** The second field of the line `o=` (RFC 8866 §5.2). */
const sessionId = (sdp) => /^o=\S+ (\S+)/m.exec(sdp)?.[1];

const isRelay = (url) => /^turns?:/.test(url);
