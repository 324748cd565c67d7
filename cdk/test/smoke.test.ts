import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, describe, expect, test } from 'vitest';
import { type WebSocket, WebSocketServer } from 'ws';
import { type Deployed, smoke } from '../lib/smoke.ts';

type Answer = (request: IncomingMessage, reply: ServerResponse) => void;
const KEYS = { accessKeyId: 'AKIA', secretAccessKey: 'secret', sessionToken: 'token' };
const open: { close(): unknown }[] = [];

afterEach(() => {
  for (const server of open.splice(0)) server.close();
});

/** Asks a server that answers like this, and gives what was said of it. */
async function ask(answer: Answer, more: Partial<Deployed> = {}): Promise<string[]> {
  const server = createServer(answer).listen(0, '127.0.0.1');
  open.push(server);
  await new Promise((resolve) => server.once('listening', resolve));
  return told(`http://127.0.0.1:${(server.address() as AddressInfo).port}/prod/`, more);
}

async function told(url: string, more: Partial<Deployed>): Promise<string[]> {
  const said: string[] = [];
  const deployed: Deployed = { url, region: 'us-east-1', auth: 'api-key', model: 'a.b:0', key: 'the-key', ...more };
  await smoke(deployed, (line) => said.push(line), { limit: 300, pause: 10 });
  expect(said.join(), 'the key is never said').not.toContain('the-key');
  return said;
}

/** An API that answers those whom `known` knows. */
const api =
  (known: (request: IncomingMessage) => boolean, completion: unknown = 'ready'): Answer =>
  (request, reply) => {
    const status = known(request) ? 200 : 403;
    reply.writeHead(status).end(JSON.stringify(status === 200 ? { completion } : { message: 'Forbidden' }));
  };
const withKey = (request: IncomingMessage) => request.headers['x-api-key'] === 'the-key';

describe('a REST API', () => {
  test('that refuses strangers and answers passes, whatever its callers send', async () => {
    expect(await ask(api(withKey))).toContain('a.b:0 answers');
    const bearer = (request: IncomingMessage) => request.headers.authorization === 'Bearer the-key';
    expect(await ask(api(bearer), { auth: 'bearer' })).toContain('a.b:0 answers');
    const signed = (request: IncomingMessage) => {
      const { authorization = '' } = request.headers;
      return authorization.startsWith('AWS4-HMAC-SHA256 Credential=AKIA/') && authorization.includes('/execute-api/');
    };
    expect(await ask(api(signed), { auth: 'iam', credentials: KEYS })).toContain('a.b:0 answers');
    const both = (request: IncomingMessage) => signed(request) && withKey(request);
    expect(await ask(api(both), { auth: 'api-key+iam', credentials: KEYS })).toContain('a.b:0 answers');
    expect(await ask(api(() => true), { auth: 'none' })).toContain('a.b:0 answers');
  });

  test('that lets strangers in is no success', async () => {
    await expect(ask(api(() => true))).rejects.toThrow('without credentials was answered 200 in place of 401 or 403');
  });

  test('that does not know a fresh key at once is asked again', async () => {
    const asked = { health: 0, model: 0 };
    const fresh: Answer = (request, reply) => {
      const failing = request.url?.endsWith('/health') ? ++asked.health < 3 : withKey(request) && ++asked.model < 3;
      if (withKey(request) && failing) reply.writeHead(asked.model > 0 ? 502 : 403).end('{}');
      else api(withKey)(request, reply);
    };
    expect(await ask(fresh)).toContain('a.b:0 answers');
    expect(asked).toEqual({ health: 3, model: 3 });
  });

  test('that does not answer says with which status, or that nobody is there', async () => {
    await expect(ask(api(() => false))).rejects.toThrow('GET /health answered 403');
    await expect(ask(api(withKey, null))).rejects.toThrow('has no completion');
    await expect(told('http://127.0.0.1:9/prod/', {})).rejects.toThrow('does not answer');
  });
});

describe('a WebSocket API', () => {
  async function serve(talk: (socket: WebSocket, text: string) => void, known = withKey): Promise<string[]> {
    const server = createServer();
    const sockets = new WebSocketServer({ noServer: true });
    server.on('upgrade', (request, socket, head) => {
      if (!known(request)) return socket.end('HTTP/1.1 403 Forbidden\r\n\r\n');
      return sockets.handleUpgrade(request, socket, head, (made) => {
        made.on('message', (data) => talk(made, data.toString()));
      });
    });
    server.listen(0, '127.0.0.1');
    open.push(server);
    await new Promise((resolve) => server.once('listening', resolve));
    return told(`ws://127.0.0.1:${(server.address() as AddressInfo).port}/prod`, {});
  }
  const frame = (fields: object) => JSON.stringify({ completion: '', has_more_messages: 'false', ...fields });
  const well = (socket: WebSocket, text: string) => {
    if (text === '__ping__') socket.send('"__pong__"');
    else [frame({ has_more_messages: 'true' }), frame({})].forEach((one) => socket.send(one));
  };

  test('that refuses strangers, pushes and answers passes', async () => {
    expect(await serve(well)).toEqual([
      'without credentials it refuses',
      'the connection opens',
      'the function answers by a push',
      'a.b:0 answers',
    ]);
  });

  test('that refuses a fresh key at first is asked again', async () => {
    let refusals = 0;
    const fresh = (request: IncomingMessage) => withKey(request) && ++refusals > 2;
    expect(await serve(well, fresh)).toContain('a.b:0 answers');
    expect(refusals).toBe(3);
  });

  test('that opens for strangers, or for nobody, is no success', async () => {
    await expect(serve(well, () => true)).rejects.toThrow('was not refused with 401 or 403, but opened');
    await expect(serve(well, () => false)).rejects.toThrow('The connection did not open');
  });

  test('that answers with an error, or closes, says so', async () => {
    const error = { error: { code: 'upstream_error' } };
    const fails = (socket: WebSocket, text: string) => socket.send(text === '__ping__' ? '"__pong__"' : frame(error));
    await expect(serve(fails)).rejects.toThrow('upstream_error');
    await expect(serve((socket) => socket.close(1011))).rejects.toThrow('was closed with 1011');
    await expect(serve((socket) => socket.send('{"message": "Internal server error"}'))).rejects.toThrow(
      'A ping was answered by {"message": "Internal server error"}',
    );
  });
});
