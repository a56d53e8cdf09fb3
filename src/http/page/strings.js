// What is going on, in words that say what to do about it.

import { CLOSED, RESTARTING } from './signaling.js';

/** Why the microphone could not be opened. */
export function microphone(error) {
  switch (error.name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return 'The microphone was refused. To talk, allow it for this page (in most browsers by the symbol at the left of the address), then try again.';
    case 'NotFoundError':
      return 'No microphone was found. Plug one in, or only listen.';
    case 'NotReadableError':
    case 'AbortError':
      return 'The microphone is there, but it could not be opened. Another program may be using it.';
    default:
      return `The microphone could not be opened (${error.message || error.name}).`;
  }
}

export const insecure =
  'This page was opened over plain HTTP, and browsers give a microphone to HTTPS pages only. Ask for a link that begins with “https”. You can still listen.';

export const noName = 'Type a name first: it is what the others see.';

// A text that contains names. ui.js isolates each name, so that its direction does not affect the text.
const naming = (texts, ...names) => texts.flatMap((text, n) => (n < names.length ? [text, { name: names[n] }] : [text]));

export const arrived = (name) => naming`${name} has come in.`;
export const left = (name) => naming`${name} has left.`;

/** The participants of the room, for a user who has not joined. */
export function present(names, count) {
  const [first, second] = names;
  if (!first) return count === 0 ? 'Nobody is there yet.' : `${count} people are there.`;
  if (count === 1) return naming`${first} is there.`;
  if (!second) return [...naming`${first}`, ` and ${count - 1} more are there.`];
  if (count === 2) return naming`${first} and ${second} are there.`;
  return [...naming`${first}, ${second}`, ` and ${count - 2} more are there.`];
}

export const copied = 'The invite link is copied.';
export const notCopied = 'The link could not be copied. Take it from the address bar.';

/** The reasons why an invite was not copied, by the error code of the server. */
export const inviteUnfit = (error) =>
  error.code === 'bad-invite'
    ? 'Your invite link is used up or expired, so it was not copied. Ask whoever invited you for a new one.'
    : `The link was not copied. ${api(error)}`;

// ---- the way in ----

export const noInvite = {
  title: 'An invite is needed',
  text: 'This link has no invite in it. The invite is the part after “#”: ask for the whole link.',
};

export const full = { title: 'The room is full', text: 'Try again when somebody has left.', again: 'Try again' };

const entrances = {
  unreachable: { title: 'The server does not answer', text: 'Check your connection, then try again.', again: 'Try again' },
  'bad-invite': { title: 'This invite does not work', text: 'It is mistyped, used up or expired. Ask for a new one.' },
  'room-private': { title: 'This room is private', text: 'Your invite does not open it any more. Ask for a new one.' },
  'room-full': full,
  'room-closed': { title: 'This room is closed', text: 'It was closed for everybody, and its invites open nothing any more.' },
  'not-found': { title: 'There is no such room', text: 'Ask for a new invite link.' },
  'invite-withdrawn': { title: 'This link was withdrawn', text: 'Ask for a new one.' },
  banned: { title: 'You are banned from this room' },
  kicked: { title: 'You were removed from the room', again: 'Try again' },
  'user-disabled': { title: 'You were removed', text: 'The host has ended your visit to this server.' },
  draining: { title: 'The server is about to be restarted', text: 'It lets nobody in. Try again in a moment.', again: 'Try again' },
  'too-many-attempts': { title: 'Too many attempts', text: 'Wait a moment, then try again.', again: 'Try again' },
};

/** The reasons why the user cannot join: {title, text, again}; without `again` a retry is useless. */
export function entrance(error) {
  const known = entrances[error.code] ?? { title: 'You are not in the room', again: 'Try again' };
  return { text: sentence(error), ...known };
}

/** The server's own message, for errors that only the server knows. */
const sentence = (error) => error.message || `The server could not do that (error ${error.status}). Try again in a while.`;

// ---- what the server says ----

/** Why an API call failed. The server's own sentence will do where we have none. */
export function api(error) {
  const known = entrances[error.code];
  return known?.text ? `${known.title}. ${known.text}` : sentence(error);
}

/** Why the server closed the connection for good: {title, text, again}. */
export function closed(code) {
  switch (code) {
    case CLOSED.elsewhere:
      return {
        title: 'You are talking in another window',
        text: 'This room was opened a second time as you, so this window has let go of it.',
        again: 'Talk here instead',
      };
    case CLOSED.notIn:
      return { title: 'You are no longer in the room', text: 'You have left it, here or elsewhere.', again: 'Come back' };
    case CLOSED.roomClosed:
      return { title: 'The room is closed', text: 'Whoever runs it has closed it for everybody.' };
    case CLOSED.removed:
      return { title: 'You were removed from the room', text: 'An admin removed you from it.', again: 'Try again' };
    case CLOSED.token:
      return {
        title: 'Your visit has expired',
        text: 'The invite that you came with no longer works. Ask for a new one.',
      };
  }
}

/** The WebSocket is lost. Without a message of the server, the page cannot know what failed. */
export const lost = (seconds, code) =>
  code === RESTARTING
    ? `The server is being restarted; the call goes on. Trying again in ${seconds} s …`
    : `The server cannot be reached. Trying again in ${seconds} s …`;

/** Why there is no connection to somebody. */
export function noRoute(name, diagnosis) {
  switch (diagnosis) {
    case 'lost':
      return naming`The connection to ${name} is lost. Looking for another way …`;
    case 'refused':
      return naming`No route to ${name}: the relay did not accept our credentials. Load the page again.`;
    case 'unreachable':
      return naming`No route to ${name}: your network does not let you reach the relay. Another network (or a phone’s hotspot) may.`;
    case 'no-relay':
      return naming`No route to ${name}: no direct path was found, and no relay was there to help.`;
    default:
      return naming`No route to ${name}: your side reaches the relay, theirs seems not to. Trying again.`;
  }
}

/** A participant sends too many messages, which are ignored. */
export const tooMuch = (name) =>
  naming`${name} sends more than this page takes, so some of it is ignored. Everybody else is heard as usual.`;

/** The state of a connection, for a tile. */
export const peerState = { connecting: 'connecting …', connected: '', interrupted: 'connection is shaky …', failed: 'no connection' };

/** How many are here. */
export const count = (people) => (people === 1 ? 'You are here' : `${people} people are here`);
