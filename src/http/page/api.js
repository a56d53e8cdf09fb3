// The HTTP API, one function a route.
//
// Every address is relative to the page's own, so that the page works behind a proxy that puts
// parlor under a prefix: the page is at {root}/r/{room}, so {root} is one up.

export const root = new URL('..', location.origin + location.pathname);
export const room = decodeURIComponent(location.pathname.split('/').pop());

/** An answer that is not 2xx, or none at all (`status` 0). `code` is a machine's word for it. */
export class ApiError extends Error {
  constructor(status, code, detail) {
    super(detail);
    this.status = status;
    this.code = code;
  }

  /** Whether a retry may succeed soon: the server is unreachable or about to stop. */
  get passes() {
    return this.status === 0 || this.status === 429 || this.status >= 500;
  }
}

/** Trades an invite and a name for a token that is good for this room alone. */
export const guest = (invite, name) => call('POST', 'api/auth/guest', { body: { room, invite, name } });

/** The preview of the room, for a user with a token or an invite (which is not used up). */
export const preview = ({ token, invite }) => call('GET', here('preview'), { token, invite });

/** Becomes a participant. Joining twice is fine, so a reload just joins again. */
export const join = (token) => call('POST', here('join'), { token, body: {} });

/** Stops being a participant. The server closes our WebSocket and frees what we hold of the relay. */
export const leave = (token) => call('POST', here('leave'), { token, body: {} });

/** All participants with their names; those with `connected` are here now, see `gone` in roster.js for the rest. */
export const participants = (token) => call('GET', here('participants'), { token });

/** STUN and TURN servers with fresh credentials in the shape RTCPeerConnection takes, and their `ttl` in seconds. */
export const iceServers = (token) => call('GET', `api/ice-servers?room=${encodeURIComponent(room)}`, { token });

/** Where the WebSocket is: the same place as the API, with ws for http. */
/** @param resume  whether we were connected before, and go on where that ended */
export function socketUrl(resume) {
  const url = new URL(`api/ws/rooms/${encodeURIComponent(room)}`, root);
  url.protocol = url.protocol.replace('http', 'ws');
  if (resume) url.searchParams.set('resume', '1');
  return url;
}

const here = (what) => `api/rooms/${encodeURIComponent(room)}/${what}`;

/** On a network that swallows everything, a request would wait for minutes. */
const PATIENCE = 15_000;

async function call(method, path, { token, invite, body } = {}) {
  const headers = {};
  if (invite) headers['X-Parlor-Invite'] = invite;
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers['Content-Type'] = 'application/json';
  const signal = AbortSignal.timeout(PATIENCE);
  let response;
  try {
    response = await fetch(new URL(path, root), { method, headers, signal, body: body && JSON.stringify(body) });
  } catch {
    throw new ApiError(0, 'unreachable', 'The server does not answer.');
  }
  // A proxy in front may answer with a page of its own, so the body may be anything.
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(response.status, answer.code, answer.detail);
  return answer;
}
