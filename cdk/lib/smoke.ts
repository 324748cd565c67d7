/**
 * Asks a deployed URL as its callers do: that it refuses those without credentials, and answers those
 * with them. One short question goes to the model.
 */

import aws4 from 'aws4';
import { randomUUID } from 'node:crypto';
import { WebSocket, type ClientOptions } from 'ws';

/** What is asked, and who asks. */
export interface Deployed {
  /** `https://…/prod/` or `wss://…/prod`. */
  readonly url: string;
  readonly region: string;
  /** The stack's output `AuthMode`. */
  readonly auth: 'api-key' | 'iam' | 'api-key+iam' | 'bearer' | 'none';
  /** The model that is asked. */
  readonly model: string;
  readonly key?: string;
  readonly credentials?: aws4.Credentials;
}

type Headers = Record<string, string>;
type Say = (line: string) => void;

/** The first request starts a function; the model may think. In milliseconds. */
const PATIENCE = 60_000;
/** How long a fresh key or role may be unknown, and the pause before it is tried again. In milliseconds. */
export interface Settling {
  readonly limit: number;
  readonly pause: number;
}
const SETTLING: Settling = { limit: 90_000, pause: 5_000 };
const QUESTION = 'Answer with the one word: ready';
const TOKENS = 16;

/** Asks; rejects with a sentence about the first thing that is not as it should be. */
export async function smoke(deployed: Deployed, say: Say, settling = SETTLING): Promise<void> {
  await (deployed.url.startsWith('ws') ? socket(deployed, say, settling) : rest(deployed, say, settling));
}

/** Tries until it is settled, or the time is over; gives what came last. */
async function settled<T>(attempt: () => Promise<T>, isSettled: (got: T) => boolean, { limit, pause }: Settling): Promise<T> {
  const end = Date.now() + limit;
  for (;;) {
    const got = await attempt();
    if (isSettled(got) || Date.now() + pause > end) return got;
    await new Promise((resolve) => setTimeout(resolve, pause));
  }
}

const known = ({ status }: { status: number }) => status !== 403 && status < 500;

async function rest(deployed: Deployed, say: Say, settling: Settling): Promise<void> {
  const path = encodeURIComponent(deployed.model);
  const body = JSON.stringify({ prompt: QUESTION, parameters: { max_tokens: TOKENS }, invalidate_cache: true });
  if (deployed.auth !== 'none') {
    const stranger = await ask(deployed, 'POST', path, {}, body);
    if (![401, 403].includes(stranger.status))
      throw new Error(`A request without credentials was answered ${stranger.status} in place of 401 or 403.`);
    say(`without credentials it refuses (${stranger.status})`);
  }
  const own = credentials(deployed);
  const health = await settled(() => ask(deployed, 'GET', 'health', own, undefined, true), known, settling);
  if (health.status !== 200) throw new Error(`GET /health answered ${health.status} in place of 200: ${health.said}`);
  say('GET /health answers');
  const headers = { 'content-type': 'application/json', ...own };
  const answer = await settled(() => ask(deployed, 'POST', path, headers, body, true), known, settling);
  if (answer.status !== 200) throw new Error(`A question was answered ${answer.status} in place of 200: ${answer.said}`);
  if (typeof JSON.parse(answer.said).completion !== 'string') throw new Error(`The answer has no completion: ${answer.said}`);
  say(`${deployed.model} answers`);
}

async function ask(
  { url, region, auth, credentials }: Deployed,
  method: string,
  path: string,
  headers: Headers,
  body?: string,
  sign = false,
): Promise<{ status: number; said: string }> {
  const target = new URL(path, url);
  const signed = sign && auth.includes('iam') ? signature(target, region, headers, credentials, method, body) : headers;
  const reply = await fetch(target, { method, headers: signed, body, signal: AbortSignal.timeout(PATIENCE) }).catch((error) => {
    throw new Error(`${target} does not answer: ${error.cause?.message ?? error.message}`);
  });
  return { status: reply.status, said: (await reply.text()).slice(0, 2000) };
}

/** The key, in the header in which this deployment takes it. */
function credentials({ auth, key }: Deployed): Headers {
  if (auth === 'bearer') return { authorization: `Bearer ${key}` };
  return auth.includes('api-key') ? { 'x-api-key': key ?? '' } : {};
}

function signature(
  { host, pathname }: URL,
  region: string,
  headers: Headers,
  keys: aws4.Credentials | undefined,
  method: string,
  body?: string,
): Headers {
  const request = { service: 'execute-api', region, host, path: pathname, method, headers: { ...headers }, body };
  const { Host: _set, ...signed } = aws4.sign(request, keys).headers as Headers;
  return signed;
}

async function socket(deployed: Deployed, say: Say, settling: Settling): Promise<void> {
  if (deployed.auth !== 'none') {
    const stranger = await connect(deployed.url, {}).then(
      (open) => (open.terminate(), undefined),
      (error: Error) => error.message,
    );
    if (!/\b40[13]\b/.test(stranger ?? ''))
      throw new Error(`A connection without credentials was not refused with 401 or 403, but ${stranger ?? 'opened'}.`);
    say('without credentials it refuses');
  }
  const own = credentials(deployed);
  const { auth, region, credentials: keys } = deployed;
  const attempt = () => {
    const headers = auth.includes('iam') ? signature(new URL(deployed.url), region, own, keys, 'GET') : own;
    return connect(deployed.url, headers).catch((error: Error) => error);
  };
  const open = await settled(attempt, (got) => !(got instanceof Error), settling);
  if (open instanceof Error) throw new Error(`The connection did not open: ${open.message}`);
  try {
    say('the connection opens');
    await talk(open, deployed, say);
  } finally {
    open.terminate();
  }
}

/** A ping, which the function answers by a push, and one question. */
async function talk(open: WebSocket, { model }: Deployed, say: Say): Promise<void> {
  const frames = reader(open);
  open.send('__ping__');
  const pong = await frames();
  if (pong !== '"__pong__"') throw new Error(`A ping was answered by ${pong}.`);
  say('the function answers by a push');

  const parameters = { max_tokens_to_sample: TOKENS };
  const question = { action: 'sendmessage', request_id: randomUUID(), prompt: QUESTION, model, parameters };
  open.send(JSON.stringify({ ...question, invalidate_cache: 'true' }));
  for (;;) {
    const said = await frames();
    const frame = JSON.parse(said);
    if (frame.error ?? frame.message) throw new Error(`A question was answered by ${said}.`);
    if (frame.has_more_messages === 'false') break;
  }
  say(`${model} answers`);
}

/** The connection's texts, one a call; rejects when it closes, or is silent for too long. */
function reader(open: WebSocket): () => Promise<string> {
  const waiting: string[] = [];
  let wake = () => {};
  let over: Error | undefined;
  open.on('message', (data) => (waiting.push(data.toString()), wake()));
  open.on('close', (code) => ((over ??= new Error(`The connection was closed with ${code}.`)), wake()));
  return async () => {
    const timer = setTimeout(() => {
      over ??= new Error(`The connection was silent for ${PATIENCE / 1000} s: pushes may not come through.`);
      wake();
    }, PATIENCE);
    while (waiting.length === 0 && !over) await new Promise<void>((resolve) => (wake = resolve));
    clearTimeout(timer);
    const text = waiting.shift();
    if (text === undefined) throw over ?? new Error('The connection is over.');
    return text;
  };
}

function connect(url: string, headers: Headers): Promise<WebSocket> {
  const options: ClientOptions = { headers, handshakeTimeout: PATIENCE };
  return new Promise((resolve, reject) => {
    const open = new WebSocket(url, options);
    open.once('open', () => resolve(open));
    open.once('error', reject);
  });
}
