// Requests of client.js to the HTTP API.

import { failure } from './client_pending.js';

/** On a network that drops all packets, an attempt would hang for minutes. */
export const TIMEOUT = 15_000;

/** Returns the answer of a route below `api/` as an object. An error has the `status` and the `code` of the API. */
export async function request(server, token, method, path, object) {
  const headers = { Authorization: `Bearer ${token}` };
  if (object) headers['Content-Type'] = 'application/json';
  const body = object && JSON.stringify(object);
  const signal = AbortSignal.timeout(TIMEOUT);
  const response = await fetch(new URL(`api/${path}`, server), { method, headers, body, signal });
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw Object.assign(failure(answer.code, answer.detail), { status: response.status });
  return answer;
}
