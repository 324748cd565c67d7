import { describe, test } from 'vitest';
import { check, combinations } from './combinations.ts';
import { AUTHS } from './support.ts';

describe.each(Object.keys(AUTHS))('what every stack holds to, a REST API holds to with authentication by %s', (auth) => {
  for (const each of combinations('rest', auth)) test(each.name, () => check(each));
});
