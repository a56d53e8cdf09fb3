// The steps of the page: link → name → microphone → room → end, and rejoining.
//
//   client.js     the session in the room   sound.js    microphone, speaker, levels
//   api.js        other HTTP routes         ui.js       the visible page
//   call.js       all peer connections      strings.js  notices and errors
//   peer.js       one peer connection       leaving.js  who may join again at once
//   limits.js     limits for each sender    storage.js  values kept between visits
//   microphone.js the user's microphone     client_path.js  dead relay paths
//   quality.js    quality of the links      lease.js     how long allocations last
//   codecs.js     codecs in descriptions    redundancy.js   when to ask for redundant audio

import * as api from './api.js';
import { Call } from './call.js';
import { CLOSED, Client } from './client.js';
import { Leaving } from './leaving.js';
import { Microphone } from './microphone.js';
import { Quality, Reports } from './quality.js';
import { wake } from './sound.js';
import * as storage from './storage.js';
import * as ui from './ui.js';
import * as strings from './strings.js';

// The token is kept for the tab: after a reload the user is the same participant, a new tab is another
// one. The name and the settings are kept for the next visit.
const KEY = `parlor ${api.root.pathname} ${api.room}`;
const NAME = 'parlor name';
const DTX = 'parlor save data in silence';

let session = JSON.parse(storage.tab.get(KEY) ?? '{}');
let handRaised = false;
let relay; // the name of the relay, if there are several
let typed; // the name, until there is a session for it
let again = rejoin; // the action of the button after the call has ended
let wasLost = false; // whether the WebSocket was open, was lost, and is reconnecting
const here = new Map(); // id → {name, isNew}; the name is undefined until it is known

const call = new Call({
  send: (type, to, fields) => client.send(type, to, fields),
  track: (id, voice) => ui.voice(id, voice),
  state: peerChanged,
  freshIce: () => client.freshIceServers(),
  check: (milliseconds) => client.check(milliseconds),
  isOpen: () => client.isOpen,
  ignored: showIgnored,
});

const client = new Client({
  server: api.root,
  room: api.room,
  on: {
    open: opened,
    lost,
    closed,
    roster: useRoster,
    joined,
    updated,
    muted: mutedByModerator,
    left: departed,
    signal: received,
    iceServers: useIceServers,
    frame: ({ type, data }) => type === 'quality' && quality.take(data),
    pathLost: () => call.pathLost(),
    tokenExpiring: freshToken,
  },
});

const leaving = new Leaving(gone);

const quality = new Quality((id) => ui.quality(id, strings.quality(quality.of(id), id === session.id)));

const reports = new Reports({ read: () => call.received(), send: (received) => client.stats(received) });

const microphone = new Microphone({ track: (track) => call.setTrack(track), changed: showOwnState });

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
  await microphone.ask();
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

// ---- own state ----

/** A moderator asks this user to mute. The button unmutes again. */
function mutedByModerator(from) {
  if (microphone.isOpen && !microphone.muted) microphone.toggleMute();
  ui.news(strings.mutedBy(here.get(from)?.name));
}

function raiseHand(raised) {
  handRaised = raised;
  showOwnState();
  client.update({ handRaised }).catch(console.warn);
}

function showOwnState() {
  const muted = microphone.muted || !microphone.isOpen;
  const byModerator = client.participants.get(client.me)?.state?.mutedByModerator === true;
  ui.ownState({ muted, listening: !microphone.isOpen, byModerator, handRaised });
  client.update({ muted }).catch(console.warn);
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
  const { room } = await join();
  remember({ ...session, inCall: true });
  here.clear();
  ui.enterRoom(room.name, session.id, session.name);
  ui.link('Connecting …');
  client.connect(session.token);
  showOwnState();
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
  await microphone.reopen();
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
  client.close();
  leaving.clear();
  call.stop();
  reports.stop();
  quality.clear();
  microphone.close();
  raiseHand(false);
  ui.settings.close();
  ui.removeOthers();
  again = rejoin;
  ui.ended(ending);
}

// ---- session ----

/**
 * The participants who are already in the room make offers to a newcomer. After a reconnect (`again`) the
 * calls continue: a restart of the server ends none.
 */
function opened({ again, resumed }) {
  wasLost = false;
  ui.link('');
  // The plain protocol knows no hands.
  ui.handPossible(client.protocol !== 'plain');
  if (resumed) return;
  quality.clear();
  reports.start();
  if (again) return call.resume();
  leaving.clear();
  here.clear();
  ui.removeOthers();
  call.start(session.id);
  showRouteProblem();
}

function received(frame) {
  const id = frame.from;
  leaving.stays(id);
  if (!here.has(id)) arrived(client.participants.get(id) ?? { userId: id });
  return call.take(frame);
}

function lost(milliseconds, code) {
  wasLost = true;
  ui.othersKnown(false);
  ui.link(strings.lost(Math.ceil(milliseconds / 1000), code));
}

/** Another token for the rest of the session. With an invite that has ended it lasts no longer: then the page signs in again. */
async function freshToken() {
  const { access_token: token } = await api.refresh(session.token);
  remember({ ...session, token });
  return token;
}

async function closed(code) {
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
    if (error.passes) client.retry(session.token);
    else ending(error);
  }
}

// ---- participants ----

function useRoster(participants) {
  for (const participant of participants.values()) {
    const id = participant.userId;
    if (id === session.id) continue;
    if (!here.has(id)) call.expect(id); // here before us
    show(participant);
  }
  showIgnored();
  ui.othersKnown(true);
}

function joined(participant) {
  const id = participant.userId;
  if (leaving.stays(id)) call.keep(id);
  if (here.has(id)) show(participant);
  else arrived(participant);
  call.meet(id);
}

/** Another name or state. A raised hand is news. */
function updated(participant) {
  const id = participant.userId;
  if (id === session.id) return showOwnState();
  if (!here.has(id)) return;
  if (participant.state?.muted) call.mayPause(id);
  const had = here.get(id).hand;
  show(participant);
  if (here.get(id).hand && !had) ui.news(strings.raisedHand(nameOf(id)));
}

/** A newcomer, whose name may follow. */
function arrived(participant) {
  here.set(participant.userId, { name: undefined, isNew: true });
  show(participant);
  ui.state(participant.userId, 'connecting');
}

function show({ userId: id, displayName, connected, state = {} }) {
  const known = here.get(id);
  const name = displayName ?? known?.name;
  here.set(id, { name, isNew: known?.isNew && !name, hand: state.handRaised === true });
  ui.add(id, name ?? 'Somebody');
  ui.status(id, { away: connected === false, hand: state.handRaised === true, muted: state.muted === true });
  if (known?.isNew && name) ui.news(strings.arrived(name));
}

/** Participants after whose removal no packet of theirs may be heard. */
const REMOVED = new Set(['kicked', 'banned', 'disabled', 'closed']);

/** Participants who have lost the server may still be in the call, and come back. */
const MAY_RETURN = new Set(['lost', 'absent']);

function departed(id, reason) {
  if (REMOVED.has(reason) || !call.peer(id)?.works) return gone(id);
  if (MAY_RETURN.has(reason)) call.keep(id);
  else leaving.begin(id);
}

function gone(id) {
  leaving.stays(id);
  const name = here.get(id)?.name;
  here.delete(id);
  call.drop(id);
  ui.remove(id);
  showRouteProblem();
  if (name) ui.news(strings.left(name));
}

const nameOf = (id) => here.get(id)?.name ?? 'somebody';

function peerChanged(id, peer) {
  ui.state(id, peer.state);
  // Participants who were shown only because of their audio may have left.
  if (peer.state === 'failed' && !client.participants.has(id)) return gone(id);
  if (peer.state === 'failed') client.refresh();
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

// ---- discontinuous transmission ----

function saveData(on) {
  storage.browser.set(DTX, on ? 'on' : 'off');
  call.setDtx(on);
}

function restoreSaving() {
  const on = storage.browser.get(DTX) === 'on';
  ui.showSaving(on);
  call.setDtx(on);
}

// ---- ICE servers ----

function useIceServers({ iceServers, iceTransportPolicy, ttl, endAtExpiry, relay: current }) {
  call.configure({ iceServers, iceTransportPolicy }, endAtExpiry ? ttl * 1000 : Infinity);
  if (relay !== undefined && current !== relay) call.relayChanged();
  relay = current;
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
ui.on('mic-retry', 'click', () => microphone.ask());
ui.on('mic-choice', 'change', (event) => microphone.choose(event));
ui.on('enter', 'click', (event) => ui.busy(event.currentTarget, enter));
ui.on('listen', 'click', (event) => ui.busy(event.currentTarget, enter));
ui.on('again', 'click', (event) => ui.busy(event.currentTarget, () => again()));
ui.on('sound-on', 'click', () => {
  wake();
  ui.playAll();
});
ui.on('mute', 'click', () => microphone.toggleMute());
ui.on('hand', 'click', () => raiseHand(!handRaised));
ui.on('leave', 'click', leave);
ui.on('settings-open', 'click', () => {
  microphone.listDevices();
  ui.settings.showModal();
});
ui.on('input-choice', 'change', (event) => microphone.choose(event));
ui.on('output-choice', 'change', (event) => {
  ui.chooseSpeaker(event.target.value).catch((error) => ui.say('settings-problem', error.message));
});
ui.on('save-data', 'change', (event) => saveData(event.target.checked));
ui.on('copy', 'click', (event) => ui.busy(event.currentTarget, copyInvite));

addEventListener('keydown', (event) => {
  const typing = event.target.closest?.('input:not([type="range"]), select, dialog');
  const plain = !event.ctrlKey && !event.metaKey && !event.altKey && !event.repeat;
  if (!plain || typing || !session.inCall) return;
  // A screen reader announces a focused button, but not one that a keyboard shortcut pressed.
  switch (event.key.toLowerCase()) {
    case 'm':
      return microphone.toggleMute().then(() => microphone.isOpen && ui.news(strings.ownMicrophone(microphone.muted)));
    case 'h':
      if (client.protocol === 'plain') return;
      raiseHand(!handRaised);
      return ui.news(strings.ownHand(handRaised));
  }
});
addEventListener('pointerdown', wake, { once: true });
addEventListener('online', () => client.hurry());
addEventListener('hashchange', () => location.reload());
navigator.mediaDevices?.addEventListener('devicechange', () => microphone.listDevices());

// A page that the browser restores from its back/forward cache has lost its connections.
addEventListener('pageshow', (event) => event.persisted && location.reload());

restoreSaving();
begin();
