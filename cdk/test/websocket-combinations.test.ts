import { describe, test } from 'vitest';
import { check, combinations } from './combinations.ts';
import { AUTHS } from './support.ts';

describe.each(Object.keys(AUTHS))('a WebSocket API with authentication by %s', (auth) => {
  test.each(combinations('websocket', auth))('holds to what every stack holds to: $name', check);
});
