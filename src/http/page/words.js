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

export const noInvite = 'This link has no invite in it. The invite is the part after “#”: ask for the whole link.';

const byCode = {
  unreachable: 'The server does not answer. Check your connection, then try again.',
  'bad-invite': 'This invite does not work: it is mistyped, used up or expired. Ask for a new one.',
  'room-private': 'This room is private, and your invite does not open it any more. Ask for a new one.',
  'room-full': 'The room is full. Try again when somebody has left.',
  'room-closed': 'This room has been closed.',
  'not-found': 'There is no such room. Ask for a new invite link.',
  'invite-withdrawn': 'This link was withdrawn. Ask for a new one.',
  draining: 'The server is about to be restarted and lets nobody in. Try again in a moment.',
  'too-many-attempts': 'Too many attempts. Wait a moment, then try again.',
};

/** Why an API call failed. The server's own sentence will do where we have none. */
export const api = (error) =>
  byCode[error.code] ?? (error.message || `The server could not do that (error ${error.status}). Try again in a while.`);

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

/** The WebSocket is gone. Whose fault it is (the server's, the network's) cannot be told from here, unless the server says so. */
export const lost = (seconds, code) =>
  code === RESTARTING
    ? `The server is being restarted; the call goes on. Trying again in ${seconds} s …`
    : `The server cannot be reached. Trying again in ${seconds} s …`;

/** Why there is no connection to somebody. */
export function noRoute(name, diagnosis) {
  switch (diagnosis) {
    case 'lost':
      return `The connection to ${name} is lost. Looking for another way …`;
    case 'refused':
      return `No route to ${name}: the relay did not accept our credentials. Load the page again.`;
    case 'unreachable':
      return `No route to ${name}: your network does not let you reach the relay. Another network (or a phone’s hotspot) may.`;
    case 'no-relay':
      return `No route to ${name}: no direct path was found, and no relay was there to help.`;
    default:
      return `No route to ${name}: your side reaches the relay, theirs seems not to. Trying again.`;
  }
}

/** Somebody sends so much that it is ignored. */
export const tooMuch = (name) =>
  `${name} sends more than this page takes, so some of it is ignored. Everybody else is heard as usual.`;

/** The state of a connection, for a tile. */
export const peerState = { connecting: 'connecting …', connected: '', interrupted: 'connection is shaky …', failed: 'no connection' };

/** How many are here. */
export const count = (people) => (people === 1 ? 'You are here' : `${people} people are here`);
