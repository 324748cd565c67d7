import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';

test('a signed URL opens for five minutes, names its service and carries no secret', () => {
  const env = { PATH: process.env['PATH'], AWS_ACCESS_KEY_ID: 'AKIA', AWS_SECRET_ACCESS_KEY: 'secret', AWS_SESSION_TOKEN: 'a/b' };
  const words = ['--import', 'tsx', 'bin/presign.ts', 'wss://x.execute-api.eu-west-1.amazonaws.com/prod', 'eu-west-1'];
  const url = new URL(execFileSync(process.execPath, words, { env, encoding: 'utf8' }).trim());
  expect(`${url.protocol}//${url.host}${url.pathname}`).toBe('wss://x.execute-api.eu-west-1.amazonaws.com/prod');
  const query = Object.fromEntries(url.searchParams);
  expect(query).toMatchObject({ 'X-Amz-Expires': '300', 'X-Amz-SignedHeaders': 'host', 'X-Amz-Security-Token': 'a/b' });
  expect(query['X-Amz-Credential']).toMatch(/^AKIA\/\d{8}\/eu-west-1\/execute-api\/aws4_request$/);
  expect(query['X-Amz-Signature']).toMatch(/^[0-9a-f]{64}$/);
  expect(url.href).not.toContain('secret');
});
