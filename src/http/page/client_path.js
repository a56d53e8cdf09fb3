// Detection of a relay path that has died, some seconds before ICE notices it, such as after a NAT rebinding.
//
// A path is dead if packets came, nothing comes any more, and there is further evidence: the signaling connection is
// dead, too, a check of ICE got no answer, or the relay has reported it (`path-lost`). A silence alone is no evidence:
// the other side may have stopped sending. Silence is measured between reports of getStats(), by their timestamps, so
// that a page that is suspended detects none.

/** The interval of the ticks, in milliseconds. Most of them only look at the last packet that was played. */
const TICK = 100;
/** The pause in the audio after which each tick reads the statistics. */
const LOOK_AFTER = 300;
/** The silence that counts: three times the longest pause of the last seconds, within these limits. */
const MIN_SILENCE = 700;
const MAX_SILENCE = 1_300; // with DTX, audio pauses for 400 ms
const PAUSES_OF = 5_000;
/** The number of packets within that time without which a silence means nothing. */
const MIN_PACKETS = 5;
/** The signaling connection is checked this long before the silence counts. */
const CHECK_TIMEOUT = 300;
/** After `path-lost`, a silence of this length suffices, and as many packets of ours that went out meanwhile. */
const SILENCE_AFTER_HINT = 300;
const SENT_AFTER_HINT = 3;
const HINT_VALID = 2_000;
/** Between two restarts. The time doubles with each, until the path has worked for a minute. */
const RESTART_PAUSE = 5_000;
const MAX_RESTART_PAUSE = 80_000;
const STABLE_AFTER = 60_000;

export class PathWatch {
  #pc;
  #on;
  #timer;
  #ticked = 0; // the time of the last tick
  #played; // the time of the last packet that was played
  #changes = []; // the times at which another packet was played
  #outage; // since when no media has come, and whether the signaling connection was cut since
  #silence; // the first report since when nothing has come
  #hinted = -Infinity; // the time of the last hint
  #looking = false;
  #restarted = -Infinity;
  #pause = RESTART_PAUSE;

  /**
   * @param pc            the RTCPeerConnection
   * @param on.check(ms)  whether the server answers on the signaling connection (a promise); undefined: unknown
   * @param on.isOpen()   whether the signaling connection is open
   * @param on.dead()     the path is dead: restarts ICE
   */
  constructor(pc, on) {
    this.#pc = pc;
    this.#on = on;
  }

  /** ICE has connected: from now on there is a path. */
  start() {
    this.#timer ??= setInterval(() => this.#tick(performance.now()), TICK);
  }

  stop() {
    clearInterval(this.#timer);
    this.#timer = undefined;
  }

  /** The relay reports that nothing comes from us. */
  hint() {
    this.#hinted = performance.now();
    this.#forget();
  }

  /** The other side may stop sending, as after "mute": a silence means nothing until packets come again. */
  mayPause() {
    this.#changes = [];
  }

  #tick(now) {
    // After a suspension of the page, the time of the last change is unknown.
    const wasSuspended = now - this.#ticked > 3 * TICK;
    this.#ticked = now;
    if (this.#hasPlayed()) {
      this.#forget();
      this.#changes.push(now);
      this.#changes = this.#changes.filter((time) => now - time < PAUSES_OF + MAX_SILENCE);
      if (now - this.#restarted > STABLE_AFTER) this.#pause = RESTART_PAUSE;
      return;
    }
    if (wasSuspended) this.#forget();
    const quiet = wasSuspended ? 0 : now - (this.#changes.at(-1) ?? now);
    const isHinted = now - this.#hinted < HINT_VALID;
    if (quiet >= LOOK_AFTER || this.#silence || isHinted) this.#look(quiet);
  }

  /** Whether a packet was played since the last call. This costs much less than the statistics. */
  #hasPlayed() {
    const sources = this.#pc.getReceivers().flatMap((receiver) => receiver.getSynchronizationSources());
    const last = Math.max(...sources.map(({ timestamp }) => timestamp));
    const isLater = last > (this.#played ?? -Infinity);
    if (isLater) this.#played = last;
    return isLater;
  }

  async #look(quiet) {
    if (this.#looking) return;
    this.#looking = true;
    try {
      const report = read(await this.#pc.getStats());
      if (report && this.#timer) this.#judge(report, quiet);
    } finally {
      this.#looking = false;
    }
  }

  #judge(report, quiet) {
    if (!report.isRelayed || (this.#outage && report.received !== this.#outage.received)) this.#forget();
    if (!report.isRelayed) return;
    const begins = !this.#outage;
    this.#outage ??= { time: report.time - quiet, received: report.received, checked: undefined, isCut: false };
    if (this.#silence && report.stun !== this.#silence.stun) this.#silence = undefined;
    this.#silence ??= { ...report, time: report.time - (begins ? quiet : 0), unanswered: undefined };
    if (this.#isDead(report, this.#outage, this.#silence)) this.#restart();
  }

  /** @param outage, silence  the time without media, and the time without media and answers */
  #isDead(report, outage, silence) {
    const length = report.time - silence.time;
    if (performance.now() - this.#hinted < HINT_VALID) {
      return length >= SILENCE_AFTER_HINT && report.sent - silence.sent >= SENT_AFTER_HINT;
    }
    const limit = this.#limit;
    if (limit === undefined) return false;
    if (report.requests > silence.requests) silence.unanswered ??= report.time;
    const quiet = report.time - outage.time;
    if (quiet >= limit - CHECK_TIMEOUT) outage.checked ??= this.#check(outage);
    // A check of ICE from the new port of a rebound NAT is answered, but the media still goes to the old one.
    if (outage.isCut) return quiet >= limit;
    const timeout = CHECK_TIMEOUT + 2 * report.roundTrip;
    return length >= limit && report.time - silence.unanswered >= timeout;
  }

  async #check(outage) {
    outage.isCut = (await this.#on.check(CHECK_TIMEOUT)) === false;
  }

  /** Something has arrived: there is no silence. */
  #forget() {
    this.#silence = undefined;
    this.#outage = undefined;
  }

  /** The silence that counts, in milliseconds; undefined: none, since too few packets came before. */
  get #limit() {
    const last = this.#changes.at(-1);
    const times = this.#changes.filter((time) => last - time < PAUSES_OF);
    if (times.length < MIN_PACKETS) return undefined;
    const longest = Math.max(...times.slice(1).map((time, index) => time - times[index]));
    return Math.min(Math.max(MIN_SILENCE, 3 * longest), MAX_SILENCE);
  }

  #restart() {
    const now = performance.now();
    // Without signaling the other side would not learn of it.
    if (!this.#on.isOpen() || now - this.#restarted < this.#pause) return;
    if (this.#restarted > 0) this.#pause = Math.min(this.#pause * 2, MAX_RESTART_PAUSE);
    this.#restarted = now;
    this.#hinted = -Infinity;
    this.#forget();
    this.#changes = [];
    this.#on.dead();
  }
}

/**
 * Returns what the statistics say about the selected pair:
 *
 *   time       of the report, in milliseconds      received   media packets
 *   isRelayed  whether a relay is on the path      stun       answers and requests of the other side
 *   roundTrip  the last one of ICE                 requests   checks that we have sent
 *                                                  sent       media packets that we have sent
 */
function read(stats) {
  const all = [...stats.values()];
  const transport = all.find(({ type }) => type === 'transport');
  // Firefox marks the pair itself.
  const pair = stats.get(transport?.selectedCandidatePairId) ?? all.find((one) => one.type === 'candidate-pair' && one.selected);
  if (!pair) return undefined;
  const isRelay = (id) => stats.get(id)?.candidateType === 'relay';
  const sum = (kind, key) => all.filter(({ type }) => type === kind).reduce((total, one) => total + (one[key] ?? 0), 0);
  return {
    time: pair.timestamp,
    isRelayed: isRelay(pair.localCandidateId) || isRelay(pair.remoteCandidateId),
    roundTrip: (pair.currentRoundTripTime ?? 0) * 1000,
    received: sum('inbound-rtp', 'packetsReceived'),
    stun: (pair.responsesReceived ?? 0) + (pair.requestsReceived ?? 0),
    requests: pair.requestsSent ?? 0,
    sent: sum('outbound-rtp', 'packetsSent'),
  };
}
