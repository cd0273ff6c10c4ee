// The server: what it can do, signing as it is made, and files of it. Whatever goes wrong is a Problem with words for people.

import { sentence } from "./words.js";

export class Problem extends Error {
  constructor(detail, { status = 0, retryAfter = null } = {}) {
    super(sentence(detail));
    Object.assign(this, { status, retryAfter });
  }
}

const KEY = "ms2sl-api-key";
let key = kept(); // the one in use, which no answer may have accepted yet
let askForKey = async () => null;
let asking = null;

/** ``ask(detail)`` gives an API key, or null if there is none. */
export function onKeyNeeded(ask) {
  askForKey = ask;
}

export async function model() {
  return (await send("v1/model", {})).json();
}

/** The messages of the stream, one after the other. Without the one that ends it, it is a Problem. */
export async function* stream(request, signal) {
  const response = await send("v1/signs/stream", { ...post(request, "application/x-ndjson"), signal });
  let ended = false;
  try {
    for await (const message of lines(response.body)) {
      if (message.type === "error") throw new Problem(message.detail ?? message.title, { status: message.status });
      yield message;
      ended = message.type === "end";
    }
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // which the network throws
  }
  if (!ended) throw new Problem("The connection to the server was lost.");
}

/** The same signing as a file of a media type. */
export async function file(request, type) {
  return (await send("v1/signs", post(request, type))).blob();
}

function post({ text, speech, ...options }, accept) {
  const given = Object.entries(options).filter(([, value]) => value !== null);
  const headers = { Accept: accept };
  if (!speech) {
    const body = JSON.stringify({ text, ...Object.fromEntries(given) });
    return { method: "POST", headers: { ...headers, "Content-Type": "application/json" }, body };
  }
  const body = new FormData();
  body.append("speech", speech, speech.name);
  for (const [name, value] of given) body.append(name, value);
  return { method: "POST", headers, body };
}

async function send(path, { headers = {}, ...rest }) {
  for (;;) {
    const used = key;
    const response = await reach(path, { ...rest, headers: new Headers(used ? { ...headers, Authorization: `Bearer ${used}` } : headers) });
    if (used && response.status !== 401) keep(used);
    if (response.ok) return response;
    const problem = await explain(response);
    if (response.status !== 401) throw problem;
    if (used === key) {
      asking ??= askForKey(problem.message).finally(() => (asking = null));
      const given = await asking;
      rest.signal?.throwIfAborted();
      if (!given) throw problem;
      key = given;
    }
  }
}

function kept() {
  try {
    return sessionStorage.getItem(KEY);
  } catch {
    return null; // the browser keeps nothing for this page
  }
}

function keep(accepted) {
  try {
    sessionStorage.setItem(KEY, accepted);
  } catch {
    // then the key is asked for again when the page is loaded again
  }
}

async function reach(path, options) {
  try {
    return await fetch(path, options);
  } catch (error) {
    if (!(error instanceof TypeError)) throw error;
    throw new Problem("The server cannot be reached. Is it running, and is this computer online?");
  }
}

async function explain(response) {
  const told = await response.json().catch(() => ({}));
  const detail = typeof told.detail === "string" ? told.detail : (told.title ?? `The server answered ${response.status} ${response.statusText}.`);
  const after = response.headers.get("Retry-After");
  const retryAfter = after === null ? null : Math.max(1, Number.isNaN(+after) ? (Date.parse(after) - Date.now()) / 1000 || 1 : +after);
  return new Problem(detail, { status: response.status, retryAfter });
}

async function* lines(body) {
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const pieces = (rest + value).split("\n");
      rest = pieces.pop();
      for (const piece of pieces) if (piece.trim()) yield JSON.parse(piece);
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
