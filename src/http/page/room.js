// The steps of the page: link → name → microphone → room → end, and rejoining.
//
//   api.js        HTTP routes               sound.js    microphone, speaker, levels
//   signaling.js  the WebSocket             ui.js       the visible page
//   call.js       all peer connections      strings.js  notices and errors
//   peer.js       one peer connection       roster.js   the list of participants
//   limits.js     limits for each sender    storage.js  values kept between visits
//   mute_state.js mute states

import * as api from './api.js';
import { Call } from './call.js';
import { MuteState } from './mute_state.js';
import { Leaving, Roster, gone as goneBy } from './roster.js';
import { CLOSED, Signaling } from './signaling.js';
import { microphonePossible, openMicrophone, wake } from './sound.js';
import * as storage from './storage.js';
import * as ui from './ui.js';
import * as strings from './strings.js';

// The token is kept for the tab: after a reload the user is the same participant, a new tab is another
// one. The name and the microphone are kept for the next visit.
const KEY = `parlor ${api.root.pathname} ${api.room}`;
const NAME = 'parlor name';
const MICROPHONE = 'parlor microphone';

let session = JSON.parse(storage.tab.get(KEY) ?? '{}');
let track = null;
let muted = false;
let configuration = {};
let iceTimer;
let relay; // the name of the relay, if there are several
let typed; // the name, until there is a session for it
let again = rejoin; // the action of the button after the call has ended
let wasLost = false; // whether the WebSocket was open, was lost, and is reconnecting
const here = new Map(); // id → {name, isNew}; the name is undefined until it is known

const call = new Call({
  send: (type, to, fields) => signaling.send(type, to, muteState.mark(type, fields)),
  track: (id, voice) => ui.voice(id, voice),
  state: peerChanged,
  freshIce,
  ignored: showIgnored,
});

const muteState = new MuteState({
  send: (type, to, fields) => signaling.send(type, to, fields),
  muted: (id, muted) => ui.muted(id, muted),
  others: () => [...here.keys()],
});

const signaling = new Signaling({ open: opened, frame: received, lost, closed });
const leaving = new Leaving(gone);
const roster = new Roster(() => api.participants(session.token), useRoster);

// ---- link and name ----

function begin() {
  const invite = location.hash.slice(1);
  if (invite && session.invite !== invite) remember({ invite });
  if (session.inCall) return rejoin();
  if (!session.invite) return cannotJoin(strings.noInvite);
  return showPreview();
}

/** Requests the preview of the room, so that the page shows errors before the user types a name. */
async function showPreview() {
  try {
    const room = await preview();
    if (room.full) return cannotJoin(strings.full);
    if (room.locked) return cannotJoin(strings.locked);
    ui.askName(typed ?? session.name ?? storage.browser.get(NAME) ?? '', room);
  } catch (error) {
    cannotJoin(strings.joinError(error));
  }
}

/** A former participant can rejoin, independent of the invite. */
async function preview() {
  const { token, invite } = session;
  if (!token) return api.preview({ invite });
  return api.preview({ token }).catch((error) => {
    if (error.status !== 401) throw error;
    return api.preview({ invite });
  });
}

/** The user cannot join now. */
function cannotJoin(ending) {
  again = showPreview;
  ui.ended(ending);
}

async function nameGiven(event) {
  event.preventDefault();
  wake();
  const name = event.target.elements.name.value.trim();
  if (!name) return ui.nameProblem(strings.noName);
  typed = name;
  ui.nameProblem('');
  try {
    if (!session.token || session.name !== name) await signIn(name);
  } catch (error) {
    // The user can correct the name here, and retry after a temporary error.
    if (error.passes || error.status === 400) return ui.nameProblem(strings.api(error));
    return cannotJoin(strings.joinError(error));
  }
  await microphone();
}

/** Exchanges the invite and a name for a guest token. */
async function signIn(name) {
  const { access_token: token, user } = await api.guest(session.invite, name);
  storage.browser.set(NAME, name);
  remember({ ...session, name, token, id: user.id });
}

function remember(next) {
  session = next;
  storage.tab.set(KEY, JSON.stringify(session));
}

// ---- microphone ----

async function microphone() {
  if (!microphonePossible()) return ui.microphoneStep({ problem: strings.insecure, retry: false });
  ui.microphoneStep({ hint: 'Your browser asks for permission to use the microphone. Please allow it.' });
  try {
    await useMicrophone(storage.browser.get(MICROPHONE) ?? '');
    ui.microphoneStep({});
  } catch (error) {
    ui.microphoneStep({ problem: strings.microphone(error) });
  }
}

/** Opens a microphone and sends its audio from now on. */
async function useMicrophone(deviceId) {
  const next = await openMicrophone(deviceId);
  track?.stop();
  track = next;
  track.enabled = !muted;
  track.addEventListener('ended', () => next === track && unplugged());
  ui.ownVoice(track);
  showOwnState();
  await call.setTrack(track);
  await listDevices();
}

/** The microphone was disconnected: uses the system's default instead. */
async function unplugged() {
  ui.news('Your microphone was disconnected.');
  try {
    await useMicrophone('');
  } catch (error) {
    withoutMicrophone();
    ui.say('room-problem', strings.microphone(error));
  }
}

function withoutMicrophone() {
  track?.stop();
  track = null;
  ui.ownVoice(null);
  showOwnState();
  call.setTrack(null);
}

async function microphoneChosen(event) {
  const id = event.target.value;
  ui.say('settings-problem', '');
  try {
    await useMicrophone(id);
    storage.browser.set(MICROPHONE, id);
  } catch (error) {
    ui.say('settings-problem', strings.microphone(error));
  }
}

const listDevices = () => ui.listDevices(track?.getSettings().deviceId);

async function toggleMute() {
  if (!track && microphonePossible()) {
    // The user has been listening only.
    muted = false;
    ui.say('room-problem', '');
    return useMicrophone('').catch((error) => ui.say('room-problem', strings.microphone(error)));
  }
  if (!track) return ui.say('room-problem', strings.insecure);
  muted = !muted;
  track.enabled = !muted;
  showOwnState();
}

function showOwnState() {
  ui.ownState({ muted, listening: !track });
  muteState.mute(muted || !track);
}

// ---- room ----

async function enter() {
  wake();
  await joinRoom().catch(joinFailed);
}

function joinFailed(error) {
  finish(strings.joinError(error));
}

async function joinRoom() {
  const { room, ice_servers: iceServers, ice_transport_policy: iceTransportPolicy } = await join();
  remember({ ...session, inCall: true });
  configuration = { iceServers, iceTransportPolicy };
  freshIce(); // also reads their expiry
  here.clear();
  ui.enterRoom(room.name, session.id, session.name);
  showOwnState();
  ui.link('Connecting …');
  signaling.connect(session.token, session.id);
}

/** Joins; an expired token is replaced by a new one, as long as the invite is valid. */
async function join() {
  try {
    return await api.join(session.token);
  } catch (error) {
    if (error.status !== 401) throw error;
    await signIn(session.name);
    return api.join(session.token);
  }
}

/** After a reload: the same participant and microphone, without questions. */
async function rejoin() {
  if (microphonePossible()) {
    await useMicrophone(storage.browser.get(MICROPHONE) ?? '').catch(withoutMicrophone);
  }
  await enter();
}

async function leave() {
  finish({ title: 'You left the room', text: 'Your microphone is off.', again: 'Rejoin' });
  // The server detects a lost connection by itself, but not that the user gave up the membership.
  await api.leave(session.token).catch(() => {});
}

/** Ends the call and shows why. */
function finish(ending) {
  remember({ ...session, inCall: false });
  signaling.close();
  roster.close();
  leaving.clear();
  call.stop();
  muteState.close();
  clearTimeout(iceTimer);
  withoutMicrophone();
  ui.settings.close();
  ui.removeOthers();
  again = rejoin;
  ui.ended(ending);
}

// ---- signaling ----

/**
 * The participants who are already in the room make offers to a newcomer. After a reconnect (`again`) the
 * calls continue: a restart of the server ends none, and the server announces this page only to
 * participants who have to make a new offer.
 */
function opened(again) {
  wasLost = false;
  ui.link('');
  if (again) {
    call.resume();
    muteState.resume();
    // The notice that the relay has changed may have been missed.
    if (relay !== undefined) freshIce();
    return roster.open();
  }
  leaving.clear();
  here.clear();
  ui.removeOthers();
  call.start(session.id, configuration);
  showRouteProblem();
  muteState.open();
  roster.open();
}

function received(frame) {
  const id = frame.from;
  switch (frame.type) {
    case 'user-joined':
      if (muteState.take(frame)) return;
      if (leaving.stays(id)) call.keep(id);
      seen(id);
      return call.meet(id);
    case 'user-left':
      return call.peer(id)?.works ? leaving.begin(id) : gone(id);
    case 'ice-servers':
      return renewIce();
    case 'offer':
    case 'answer':
    case 'ice-candidate':
      leaving.stays(id);
      seen(id);
      if (frame.page) muteState.meet(id);
      return call.take(frame);
  }
}

function lost(milliseconds, code) {
  wasLost = true;
  roster.close();
  muteState.lost();
  ui.othersKnown(false);
  ui.link(strings.lost(Math.ceil(milliseconds / 1000), code));
}

async function closed(code) {
  roster.close();
  // A long absence ends the membership; the page joins again.
  const seatLost = code === CLOSED.notIn && wasLost;
  if (!seatLost && code !== CLOSED.token) return finish(strings.closed(code));
  let ending = () => finish(strings.closed(code));
  try {
    if (code === CLOSED.token) await signIn(session.name);
    ending = joinFailed;
    await joinRoom();
  } catch (error) {
    if (!session.inCall) return; // the user has pressed "Leave" meanwhile
    // An unreachable or draining server has not rejected us: the calls continue.
    if (error.passes) signaling.retry(session.token, session.id);
    else ending(error);
  }
}

// ---- participants ----

function useRoster(list, changed) {
  const others = list.participants.filter((one) => one.connected && one.user_id !== session.id && !changed.has(one.user_id));
  for (const { user_id: id, display_name: name } of others) {
    if (!here.has(id)) call.expect(id); // here before us
    const known = here.get(id);
    here.set(id, { name, isNew: false });
    ui.add(id, name);
    if (known?.isNew) ui.news(strings.arrived(name));
  }
  showIgnored();
  const judged = [...here.keys()].filter((id) => !changed.has(id));
  for (const id of goneBy(list, judged, (one) => call.peer(one)?.works)) gone(id);
  ui.othersKnown(true);
}

function seen(id) {
  if (!here.has(id)) arrived(id);
  if (!here.get(id).name) roster.refresh();
}

function arrived(id) {
  here.set(id, { name: undefined, isNew: true });
  ui.add(id, 'Somebody');
  ui.state(id, 'connecting');
  roster.changed(id);
}

function gone(id) {
  leaving.stays(id);
  const name = here.get(id)?.name;
  here.delete(id);
  call.drop(id);
  ui.remove(id);
  muteState.forget(id);
  showRouteProblem();
  roster.changed(id);
  if (name) ui.news(strings.left(name));
}

const nameOf = (id) => here.get(id)?.name ?? 'somebody';

function peerChanged(id, peer) {
  ui.state(id, peer.state);
  // Participants who were listed only because of their audio may have left.
  if (peer.state === 'failed') roster.refresh();
  showRouteProblem();
}

/** Shows one participant who cannot be reached, if there is one. */
function showRouteProblem() {
  const id = [...here.keys()].find((one) => call.peer(one)?.state === 'failed');
  ui.say('route-problem', id ? strings.noRoute(nameOf(id), call.peer(id).diagnosis) : '');
}

/** Shows which participants send too many messages, if any. */
function showIgnored(ids = call.ignored) {
  ui.say('ignored-problem', ids.flatMap((id) => [...strings.tooMuch(nameOf(id)), ' ']));
}

// ---- ICE servers ----

let fresh;
let relayLost = false;

/** Fetches new credentials before the old ones expire. Concurrent callers wait for the same request. */
function freshIce() {
  fresh ??= fetchIce().finally(() => (fresh = undefined));
  return fresh;
}

/** The ICE servers have changed: the answer to a request from before may not say so. */
function renewIce() {
  relayLost = true;
  return (fresh ?? Promise.resolve()).then(freshIce);
}

async function fetchIce() {
  clearTimeout(iceTimer);
  let secondsLeft = relayLost ? 2 : 60; // until the next attempt, if this one fails
  try {
    const answer = await api.iceServers(session.token);
    const { iceServers, iceTransportPolicy, ttl } = answer;
    configuration = { iceServers, iceTransportPolicy };
    call.configure(configuration);
    if (relay !== undefined && answer.relay !== relay) call.relayChanged();
    relay = answer.relay;
    relayLost = false;
    secondsLeft = ttl * 0.8;
  } catch (error) {
    console.warn('ICE servers:', error);
  }
  if (session.inCall) iceTimer = setTimeout(freshIce, Math.min(secondsLeft * 1000, 2 ** 31 - 1));
}

// ---- invite link ----

/** Copies the room's link if its invite is still valid. */
async function copyInvite() {
  const { invite } = session;
  const link = `${location.origin}${location.pathname}#${invite}`;
  const checked = api.preview({ invite }).then(() => new Blob([link], { type: 'text/plain' }));
  try {
    // A promise: some browsers let a page copy only while it handles the click.
    await navigator.clipboard.write([new ClipboardItem({ 'text/plain': checked })]);
    ui.news(strings.copied);
  } catch {
    ui.news(await checked.then(() => strings.notCopied, strings.inviteUnfit));
  }
}

// ---- buttons and keys ----

ui.on('name-form', 'submit', (event) => ui.busy(event.submitter ?? event.target, () => nameGiven(event)));
ui.on('mic-retry', 'click', microphone);
ui.on('mic-choice', 'change', microphoneChosen);
ui.on('enter', 'click', (event) => ui.busy(event.currentTarget, enter));
ui.on('listen', 'click', (event) => ui.busy(event.currentTarget, enter));
ui.on('again', 'click', (event) => ui.busy(event.currentTarget, () => again()));
ui.on('sound-on', 'click', () => {
  wake();
  ui.playAll();
});
ui.on('mute', 'click', toggleMute);
ui.on('leave', 'click', leave);
ui.on('settings-open', 'click', () => {
  listDevices();
  ui.settings.showModal();
});
ui.on('input-choice', 'change', microphoneChosen);
ui.on('output-choice', 'change', (event) => {
  ui.chooseSpeaker(event.target.value).catch((error) => ui.say('settings-problem', error.message));
});
ui.on('copy', 'click', (event) => ui.busy(event.currentTarget, copyInvite));

addEventListener('keydown', (event) => {
  const typing = event.target.closest?.('input:not([type="range"]), select, dialog');
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat;
  if (event.key.toLowerCase() !== 'm' || !plain || typing || !session.inCall) return;
  // A screen reader announces a focused button, but not one that a keyboard shortcut pressed.
  toggleMute().then(() => track && ui.news(muted ? 'You are muted.' : 'Your microphone is on.'));
});
addEventListener('pointerdown', wake, { once: true });
addEventListener('online', () => signaling.hurry());
addEventListener('hashchange', () => location.reload());
navigator.mediaDevices?.addEventListener('devicechange', listDevices);

// A page that the browser restores from its back/forward cache has lost its connections.
addEventListener('pageshow', (event) => event.persisted && location.reload());

begin();
