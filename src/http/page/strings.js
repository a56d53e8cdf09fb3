// All texts that the page builds: notices, errors, and what the user can do about them.

import { CLOSED, RESTARTING } from './client.js';

/** Why the microphone could not be opened. */
export function microphone(error) {
  switch (error.name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return 'The browser blocked the microphone. To talk, allow it for this page (most browsers have a symbol for it beside the address), then try again.';
    case 'NotFoundError':
      return 'No microphone was found. Connect one, or listen only.';
    case 'NotReadableError':
    case 'AbortError':
      return 'The microphone could not be opened. Another program may be using it.';
    default:
      return `The microphone could not be opened (${error.message || error.name}).`;
  }
}

export const insecure =
  'Browsers allow the microphone on HTTPS pages only, and this page was opened over HTTP. Ask for a link that begins with “https”. You can still listen.';

export const noName = 'Type a name first. The other participants see it.';

// A text that contains names. ui.js isolates each name, so that its direction does not affect the text.
const naming = (texts, ...names) => texts.flatMap((text, n) => (n < names.length ? [text, { name: names[n] }] : [text]));

export const arrived = (name) => naming`${name} joined.`;
export const left = (name) => naming`${name} left.`;

/** The participants of the room, for a user who has not joined. */
export function present(names, count) {
  const [first, second] = names;
  if (!first) return count === 0 ? 'Nobody is in the room yet.' : `${count} people are in the room.`;
  if (count === 1) return naming`${first} is in the room.`;
  if (!second) return [...naming`${first}`, ` and ${count - 1} more are in the room.`];
  if (count === 2) return naming`${first} and ${second} are in the room.`;
  return [...naming`${first}, ${second}`, ` and ${count - 2} more are in the room.`];
}

export const copied = 'Invite link copied.';
export const notCopied = 'The link could not be copied. Copy it from the address bar.';

/** The reasons why an invite was not copied, by the error code of the server. */
export const inviteUnfit = (error) =>
  error.code === 'bad-invite'
    ? 'Your invite link is used up or expired, so it was not copied. Ask the person who invited you for a new link.'
    : `The link was not copied. ${api(error)}`;

// ---- before joining ----

export const noInvite = {
  title: 'An invite is needed',
  text: 'This link contains no invite. The invite is the part after “#”. Ask for the complete link.',
};

export const full = { title: 'The room is full', text: 'Try again when somebody has left.', again: 'Try again' };

export const locked = { title: 'The room is locked', text: 'Ask somebody in the room to unlock it.', again: 'Try again' };

const joinErrors = {
  unreachable: { title: 'The server does not answer', text: 'Check your connection, then try again.', again: 'Try again' },
  'bad-invite': { title: 'This invite does not work', text: 'It is mistyped, used up or expired. Ask for a new link.' },
  'room-private': { title: 'This room is private', text: 'Your invite is no longer valid for it. Ask for a new link.' },
  'room-full': full,
  'room-locked': locked,
  'room-closed': { title: 'This room is closed', text: 'It was closed for everybody, and its invites are no longer valid.' },
  'not-found': { title: 'This room does not exist', text: 'Ask for a new invite link.' },
  'invite-withdrawn': { title: 'This invite was revoked', text: 'Ask for a new link.' },
  banned: { title: 'You are banned from this room' },
  kicked: { title: 'You were removed from the room', again: 'Try again' },
  'user-disabled': { title: 'The host removed you', text: 'You cannot use this server any more.' },
  draining: { title: 'The server is about to restart', text: 'Nobody can join at the moment. Try again in a minute.', again: 'Try again' },
  'too-many-attempts': { title: 'Too many attempts', text: 'Wait a moment, then try again.', again: 'Try again' },
};

/** The reasons why the user cannot join: {title, text, again}; without `again` a retry is useless. */
export function joinError(error) {
  const known = joinErrors[error.code] ?? { title: 'You are not in the room', again: 'Try again' };
  return { text: sentence(error), ...known };
}

/** The server's own message, for errors that have no text here. */
const sentence = (error) => error.message || `The request failed (error ${error.status}). Try again later.`;

// ---- errors and close codes of the server ----

/** Why an API call failed: our own text, else the server's message. */
export function api(error) {
  const known = joinErrors[error.code];
  return known?.text ? `${known.title}. ${known.text}` : sentence(error);
}

/** Why the server closed the connection, for codes after which the page does not reconnect: {title, text, again}. */
export function closed(code) {
  switch (code) {
    case CLOSED.elsewhere:
      return {
        title: 'You are talking in another window',
        text: 'You opened this room in a second window, so this one was disconnected.',
        again: 'Talk here instead',
      };
    case CLOSED.notIn:
      return { title: 'You are no longer in the room', text: 'You left it, here or in another window.', again: 'Rejoin' };
    case CLOSED.roomClosed:
      return { title: 'The room is closed', text: 'The host closed it for everybody.' };
    case CLOSED.removed:
      return { title: 'You were removed from the room', text: 'The host removed you.', again: 'Try again' };
    case CLOSED.token:
      return {
        title: 'Your session has expired',
        text: 'Your invite is no longer valid. Ask for a new link.',
      };
  }
}

/** The WebSocket is lost. Only a close code of the server tells the page why. */
export const lost = (seconds, code) =>
  code === RESTARTING
    ? `The server is restarting; the call continues. Reconnecting in ${seconds} s …`
    : `The server cannot be reached. Reconnecting in ${seconds} s …`;

/** Why there is no connection to a participant. */
export function noRoute(name, diagnosis) {
  switch (diagnosis) {
    case 'lost':
      return naming`The connection to ${name} was lost. Looking for another route …`;
    case 'refused':
      return naming`No route to ${name}: the relay rejected our credentials. Reload the page.`;
    case 'unreachable':
      return naming`No route to ${name}: your network blocks the relay. Try another network, such as a phone’s hotspot.`;
    case 'no-relay':
      return naming`No route to ${name}: there is no direct path and no relay.`;
    default:
      return naming`No route to ${name}: you can reach the relay, but ${name} probably cannot. Trying again.`;
  }
}

/** A participant sends too many messages, which are ignored. */
export const tooMuch = (name) =>
  naming`${name} sends more messages than this page accepts, so some are ignored. You hear everybody else as usual.`;

/** The state of the connection to a participant. */
const peerState = { connecting: 'connecting …', connected: '', interrupted: 'connection interrupted …', failed: 'no connection' };

/** What a participant's tile says of them. */
export const state = (peer, { away, hand, muted }) =>
  [peerState[peer] || (away && 'away'), hand && 'hand raised', muted && 'muted'].filter(Boolean).join(', ');

/** What the user's own tile says. */
export function ownState({ muted, listening, byModerator, handRaised }) {
  const sound = listening ? 'listening only' : muted && (byModerator ? 'muted by a moderator' : 'muted');
  return ['you', sound, handRaised && 'hand raised'].filter(Boolean).join(', ');
}

/** What is wrong with the links of a participant, if anything. */
export function quality({ up, down }, isMe) {
  if (!up && !down) return '';
  if (!isMe) return 'The connection of this person is weak';
  if (up && down) return 'Your connection is weak';
  if (up) return up.loses ? 'Your upload is losing packets' : 'Your upload is slow';
  return down.loses ? 'Your download is losing packets' : 'Your download is slow';
}

export const ownMicrophone = (muted) => (muted ? 'You are muted.' : 'Your microphone is on.');

export const ownHand = (raised) => (raised ? 'You raised your hand.' : 'You lowered your hand.');

/** A moderator, who may be in the room, has asked this user to mute. */
export const mutedBy = (name) => (name ? naming`${name} muted you.` : 'A moderator muted you.');

export const raisedHand = (name) => naming`${name} raised a hand.`;

/** How many people are in the room. */
export const count = (people) => (people === 1 ? 'Only you' : `${people} people`);
