// The story of the page: link → name → microphone → room → gone, and back again.
//
//   api.js        the HTTP routes           sound.js   microphone, speaker, loudness
//   signaling.js  the WebSocket             ui.js      what can be seen
//   call.js       who is called by whom     strings.js   what is said when something fails
//   peer.js       one connection            roster.js  who is here
//   limits.js     how much others may send
//   pages.js      who is muted              storage.js what is remembered

import * as api from './api.js';
import { Call } from './call.js';
import { Pages } from './pages.js';
import { Roster, gone as goneBy } from './roster.js';
import { CLOSED, Signaling } from './signaling.js';
import { microphonePossible, openMicrophone, wake } from './sound.js';
import * as storage from './storage.js';
import * as ui from './ui.js';
import * as strings from './strings.js';

// The token lives as long as the tab: a reload comes back as the same person, a new tab is a new
// one. The name and the microphone are remembered for next time, wherever that is.
const KEY = `parlor ${api.root.pathname} ${api.room}`;
const NAME = 'parlor name';
const MICROPHONE = 'parlor microphone';

let session = JSON.parse(storage.tab.get(KEY) ?? '{}');
let track = null;
let muted = false;
let configuration = {};
let iceTimer;
let typed; // the name, while there is no session for it
let again = comeBack; // the action of the button after the call has ended
let wasLost = false; // whether the WebSocket was open, is gone, and comes back by itself
const here = new Map(); // id → {name, isNew}; the name is undefined until it is known

const call = new Call({
  send: (type, to, fields) => signaling.send(type, to, pages.mark(type, fields)),
  track: (id, voice) => ui.voice(id, voice),
  state: peerChanged,
  freshIce,
  ignored: sayIgnored,
});

const pages = new Pages({
  send: (type, to, fields) => signaling.send(type, to, fields),
  muted: (id, muted) => ui.muted(id, muted),
  others: () => [...here.keys()],
});

const signaling = new Signaling({ open: opened, frame: received, lost, closed });
const roster = new Roster(() => api.participants(session.token), useRoster);

// ---- link and name ----

function begin() {
  const invite = location.hash.slice(1);
  if (invite && session.invite !== invite) remember({ invite });
  if (session.inCall) return comeBack();
  if (!session.invite) return stop(strings.noInvite);
  return look();
}

/** Requests the preview of the room, so that the page shows errors before the user types a name. */
async function look() {
  try {
    const room = await preview();
    if (room.full) return stop(strings.full);
    ui.askName(typed ?? session.name ?? storage.browser.get(NAME) ?? '', room);
  } catch (error) {
    stop(strings.entrance(error));
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
function stop(ending) {
  again = look;
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
    return stop(strings.entrance(error));
  }
  await microphone();
}

/** Becomes a guest: from here on we are somebody. */
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
  ui.microphoneStep({ hint: 'Your browser asks whether this page may use the microphone. Please allow it.' });
  try {
    await useMicrophone(storage.browser.get(MICROPHONE) ?? '');
    ui.microphoneStep({});
  } catch (error) {
    ui.microphoneStep({ problem: strings.microphone(error) });
  }
}

/** Opens a microphone and speaks through it from now on. */
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

/** The microphone in use has gone: take what is left. */
async function unplugged() {
  ui.news('Your microphone has gone.');
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
    // Only listening so far, and now there is something to say.
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
  pages.mute(muted || !track);
}

// ---- room ----

async function enter() {
  wake();
  await comeIn().catch(notIn);
}

function notIn(error) {
  finish(strings.entrance(error));
}

async function comeIn() {
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

/** Joins; a token that has expired meanwhile is traded for a new one, as long as the invite works. */
async function join() {
  try {
    return await api.join(session.token);
  } catch (error) {
    if (error.status !== 401) throw error;
    await signIn(session.name);
    return api.join(session.token);
  }
}

/** After a reload: the same person, the same microphone, no questions. */
async function comeBack() {
  if (microphonePossible()) {
    await useMicrophone(storage.browser.get(MICROPHONE) ?? '').catch(withoutMicrophone);
  }
  await enter();
}

async function leave() {
  finish({ title: 'You have left', text: 'Nobody hears you any more.', again: 'Come back' });
  // The server would find out by itself that we are silent, but not that we gave up our seat.
  await api.leave(session.token).catch(() => {});
}

/** Ends the call, whoever ended it, and says so. */
function finish(ending) {
  remember({ ...session, inCall: false });
  signaling.close();
  roster.close();
  call.stop();
  pages.close();
  clearTimeout(iceTimer);
  withoutMicrophone();
  ui.settings.close();
  ui.removeOthers();
  again = comeBack;
  ui.ended(ending);
}

// ---- signaling ----

/**
 * A newcomer is called by those who are here, and nobody else's call counts. Who is back goes on with
 * the calls that there are: a restart of the server ends none, and others are told of us only where
 * they have to call us anew.
 */
function opened(again) {
  wasLost = false;
  ui.link('');
  if (again) {
    call.resume();
    pages.resume();
    return roster.open();
  }
  here.clear();
  ui.removeOthers();
  call.start(session.id, configuration);
  sayRoutes();
  pages.open();
  roster.open();
}

function received(frame) {
  const id = frame.from;
  switch (frame.type) {
    case 'user-joined':
      if (pages.take(frame)) return;
      seen(id);
      return call.meet(id);
    case 'user-left':
      return gone(id);
    case 'offer':
    case 'answer':
    case 'ice-candidate':
      seen(id);
      if (frame.page) pages.meet(id);
      return call.take(frame);
  }
}

function lost(milliseconds, code) {
  wasLost = true;
  roster.close();
  pages.lost();
  ui.othersKnown(false);
  ui.link(strings.lost(Math.ceil(milliseconds / 1000), code));
}

async function closed(code) {
  roster.close();
  // Who was away for long has lost the seat, and may take it again.
  const seatLost = code === CLOSED.notIn && wasLost;
  if (!seatLost && code !== CLOSED.token) return finish(strings.closed(code));
  let ending = () => finish(strings.closed(code));
  try {
    if (code === CLOSED.token) await signIn(session.name);
    ending = notIn;
    await comeIn();
  } catch (error) {
    if (!session.inCall) return; // the user has pressed "Leave" meanwhile
    // An unreachable or draining server has not rejected us: the calls continue.
    if (error.passes) signaling.retry(session.token, session.id);
    else ending(error);
  }
}

// ---- who is here ----

function useRoster(list, changed) {
  const others = list.participants.filter((one) => one.connected && one.user_id !== session.id && !changed.has(one.user_id));
  for (const { user_id: id, display_name: name } of others) {
    if (!here.has(id)) call.expect(id); // here before us
    const known = here.get(id);
    here.set(id, { name, isNew: false });
    ui.add(id, name);
    if (known?.isNew) ui.news(strings.arrived(name));
  }
  sayIgnored();
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
  const name = here.get(id)?.name;
  here.delete(id);
  call.drop(id);
  ui.remove(id);
  pages.forget(id);
  sayRoutes();
  roster.changed(id);
  if (name) ui.news(strings.left(name));
}

const nameOf = (id) => here.get(id)?.name ?? 'somebody';

function peerChanged(id, peer) {
  ui.state(id, peer.state);
  // Participants who were listed only because of their audio may have left.
  if (peer.state === 'failed') roster.refresh();
  sayRoutes();
}

/** Says who cannot be reached, if anybody. */
function sayRoutes() {
  const id = [...here.keys()].find((one) => call.peer(one)?.state === 'failed');
  ui.say('route-problem', id ? strings.noRoute(nameOf(id), call.peer(id).diagnosis) : '');
}

/** Shows which participants send too many messages, if any. */
function sayIgnored(ids = call.ignored) {
  ui.say('ignored-problem', ids.flatMap((id) => [...strings.tooMuch(nameOf(id)), ' ']));
}

// ---- ICE servers ----

let fresh;

/** Fetches new credentials before the old ones expire. Concurrent callers wait for the same request. */
function freshIce() {
  fresh ??= fetchIce().finally(() => (fresh = undefined));
  return fresh;
}

async function fetchIce() {
  clearTimeout(iceTimer);
  let secondsLeft = 60; // until the next attempt, if this one fails
  try {
    const { iceServers, iceTransportPolicy, ttl } = await api.iceServers(session.token);
    configuration = { iceServers, iceTransportPolicy };
    call.configure(configuration);
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

// ---- what is pressed ----

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
  // A screen reader reads a button that is pressed, but not one that a key presses from elsewhere.
  toggleMute().then(() => track && ui.news(muted ? 'You are muted.' : 'You can be heard.'));
});
addEventListener('pointerdown', wake, { once: true });
addEventListener('online', () => signaling.hurry());
addEventListener('hashchange', () => location.reload());
navigator.mediaDevices?.addEventListener('devicechange', listDevices);

// A page that the browser kept and shows again has lost its connections.
addEventListener('pageshow', (event) => event.persisted && location.reload());

begin();
