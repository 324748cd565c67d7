import { describe, test } from 'vitest';
import { check, combinations } from './combinations.ts';
import { AUTHS } from './support.ts';

describe.each(Object.keys(AUTHS))('what every stack holds to, a WebSocket API holds to with authentication by %s', (auth) => {
  for (const each of combinations('websocket', auth)) test(each.name, () => check(each));
});
