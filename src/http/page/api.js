// The HTTP API, one function a route.
//
// Every URL is relative to the page's own, so that the page works behind a proxy that serves
// parlor below a path: the page is at {root}/r/{room}, so {root} is one level up.

export const root = new URL('..', location.origin + location.pathname);
export const room = decodeURIComponent(location.pathname.split('/').pop());

/** A response that is not 2xx, or no response (`status` 0). `code` is the error code of the API. */
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

/** Exchanges an invite and a name for a token that is valid for this room only. */
export const guest = (invite, name) => call('POST', 'api/auth/guest', { body: { room, invite, name } });

/** Exchanges a token for one that ends later. */
export const refresh = (token) => call('POST', 'api/auth/refresh', { token });

/** The preview of the room, for a user with a token or an invite (which is not used up). */
export const preview = ({ token, invite }) => call('GET', here('preview'), { token, invite });

/** Joins the room. Idempotent, so a reload joins again. */
export const join = (token) => call('POST', here('join'), { token, body: {} });

/** Leaves the room. The server closes our WebSocket and frees our allocations. */
export const leave = (token) => call('POST', here('leave'), { token, body: {} });

const here = (what) => `api/rooms/${encodeURIComponent(room)}/${what}`;

/** On a network that drops all packets, a request would wait for minutes. */
const REQUEST_TIMEOUT = 15_000;

async function call(method, path, { token, invite, body } = {}) {
  const headers = {};
  if (invite) headers['X-Parlor-Invite'] = invite;
  if (token) headers.Authorization = `Bearer ${token}`;
  if (body) headers['Content-Type'] = 'application/json';
  const signal = AbortSignal.timeout(REQUEST_TIMEOUT);
  let response;
  try {
    response = await fetch(new URL(path, root), { method, headers, signal, body: body && JSON.stringify(body) });
  } catch {
    throw new ApiError(0, 'unreachable', 'The server does not answer.');
  }
  // A proxy may answer with a page of its own, so the body may be anything.
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new ApiError(response.status, answer.code, answer.detail);
  return answer;
}
