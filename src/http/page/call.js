// The call: one Peer for each other participant in the room (a full mesh).
//
// On `user-joined`, every participant who is already in the room makes an offer to the newcomer, who
// waits. So for each pair exactly one side begins.

import { Lease } from './lease.js';
import { Limits } from './limits.js';
import { Peer } from './peer.js';

/** A newcomer makes an offer to a participant who has not made one within this time. */
const OFFER_TIMEOUT = 15_000;

/** An unanswered offer is made again this long after the connection has failed. */
const REOFFER_DELAY = 5_000;

/** The server accepts as many streams in a report. */
const MAX_RECEIVED = 64;

export class Call {
  #me;
  #configuration;
  #lease; // how long allocations with it last
  #voice = { track: null, stream: new MediaStream() };
  #dtx = false;
  #peers = new Map();
  #expected = new Map();
  #limits;
  #on;

  /**
   * @param on.send(type, to, fields)
   * @param on.track(id, track)   a participant's audio
   * @param on.state(id, peer)    the connection to a participant changed
   * @param on.freshIce()         calls configure() with fresh credentials (a promise)
   * @param on.check(ms)          whether the server answers on the signaling connection (a promise)
   * @param on.isOpen()           whether the signaling connection is open
   * @param on.ignored(ids)       participants whose messages are ignored because they send too many
   */
  constructor(on) {
    this.#on = on;
    this.#limits = new Limits(on.ignored);
  }

  /** Starts without any peer. */
  start(me) {
    this.stop();
    this.#me = me;
  }

  /** The signaling connection is back: repeats offers that may have been lost. */
  resume() {
    for (const [id, peer] of [...this.#peers]) {
      peer.kept = true;
      if (!peer.offering) continue;
      if (peer.works) peer.repeat();
      else this.invite(id);
    }
  }

  /**
   * Sets the ICE servers for all connections from now on.
   *
   * @param lifetime   how long allocations with these servers last, in milliseconds
   */
  configure(configuration, lifetime) {
    this.#configuration = configuration;
    this.#lease = new Lease(lifetime);
    for (const peer of this.#peers.values()) peer.configure(configuration, this.#lease);
  }

  /** The relay is another one now, after configure(). */
  relayChanged() {
    for (const peer of this.#peers.values()) peer.relayChanged();
  }

  /** The relay reports that nothing comes from us. */
  pathLost() {
    for (const peer of this.#peers.values()) peer.pathLost();
  }

  /** What was received from all participants, see peer.js; each connection may ask for redundant audio for it. */
  async received() {
    const all = await Promise.all([...this.#peers.values()].map((peer) => peer.received()));
    return all.flat().slice(0, MAX_RECEIVED);
  }

  /** A participant was muted, and may stop sending. */
  mayPause(id) {
    this.#peers.get(id)?.mayPause();
  }

  /** Sends a track to all participants, now and later; null sends silence. */
  async setTrack(track) {
    this.#voice.track = track;
    await Promise.all([...this.#peers.values()].map((peer) => peer.setTrack(track)));
  }

  /** Sets whether all sides send little in silence. */
  setDtx(dtx) {
    this.#dtx = dtx;
    for (const peer of this.#peers.values()) peer.setDtx(dtx);
  }

  /**
   * A participant joined: we make the offer. A kept call continues without interruption if the other
   * side has kept it, too; a participant with a new page announces that (see `take`).
   */
  meet(id) {
    const peer = this.#peers.get(id);
    if (!peer) return this.invite(id);
    if (!peer.kept) return; // other frontends announce a name after the call has begun
    if (peer.works && peer.named) peer.renew();
    else this.invite(id);
  }

  /** A participant has a newer connection to the server, and may have kept the call. */
  keep(id) {
    const peer = this.#peers.get(id);
    if (peer) peer.kept = true;
  }

  /** Starts a new call with a participant. */
  invite(id) {
    this.drop(id);
    this.#begin(id, newCallId())?.invite();
  }

  /** Replaces the connection to a participant by a new one; above the limit, later. */
  #begin(id, call) {
    const wait = this.#limits.call(id);
    if (wait === 0) {
      this.drop(id);
      return this.#peer(id, call);
    }
    if (!this.#expected.has(id)) this.#expected.set(id, setTimeout(() => this.invite(id), wait));
  }

  /** A participant was in the room before us: expects their offer. */
  expect(id) {
    if (this.#peers.has(id) || this.#expected.has(id)) return;
    this.#expected.set(id, setTimeout(() => this.invite(id), OFFER_TIMEOUT));
  }

  /** A participant left. */
  drop(id) {
    clearTimeout(this.#expected.get(id));
    this.#expected.delete(id);
    this.#peers.get(id)?.close();
    this.#peers.delete(id);
  }

  /** Handles an `offer`, `answer` or `ice-candidate` from a participant. */
  take({ type, from, call, data, again }) {
    let peer = this.#peers.get(from);
    // Other frontends may not name their calls. An unnamed message matches the current call, but an
    // offer of a new connection begins a new call.
    const named = peer && (call === undefined || call === peer.call);
    if (type !== 'offer' && !named) return; // without using up a budget
    if (!this.#limits.frame(from, type, data)) return;
    const fits = named && (call !== undefined || type !== 'offer' || peer.continuedBy(data));
    if (type === 'offer' && !fits) {
      // An offer in an unknown call. An answer without a description reports that.
      if (again) return this.#on.send('answer', from, { call, data: null });
      // Both began at once. As in peer.js, the impolite side keeps its offer.
      if (peer?.offering && !this.#polite(from)) return;
      peer = this.#begin(from, call);
      if (!peer) return;
    }
    if (type === 'answer' && data === null) return this.invite(from);
    if (type !== 'ice-candidate') peer.kept = false;
    peer.named ||= call !== undefined;
    peer.take(type, data);
  }

  peer(id) {
    return this.#peers.get(id);
  }

  /** Participants whose messages are ignored because they send too many. */
  get ignored() {
    return this.#limits.ignored;
  }

  stop() {
    for (const id of [...this.#peers.keys(), ...this.#expected.keys()]) this.drop(id);
  }

  #polite(id) {
    return this.#me < id;
  }

  #peer(id, call) {
    const peer = new Peer({
      call,
      configuration: this.#configuration,
      voice: { ...this.#voice },
      dtx: this.#dtx,
      lease: this.#lease,
      polite: this.#polite(id),
      on: {
        send: (type, data) => this.#on.send(type, id, { call, data, again: (type === 'offer' && peer.again) || undefined }),
        track: (track) => this.#on.track(id, track),
        state: () => this.#changed(id, peer),
        restart: () => this.#on.freshIce(),
        check: (milliseconds) => this.#on.check(milliseconds),
        isOpen: () => this.#on.isOpen(),
      },
    });
    this.#peers.set(id, peer);
    this.#on.state(id, peer);
    return peer;
  }

  #changed(id, peer) {
    this.#on.state(id, peer);
    if (peer.state !== 'failed' || peer.answered) return;
    setTimeout(() => this.#peers.get(id) === peer && !peer.answered && this.invite(id), REOFFER_DELAY);
  }
}

function newCallId() {
  return Array.from(crypto.getRandomValues(new Uint8Array(8)), (byte) => byte.toString(16).padStart(2, '0')).join('');
}
