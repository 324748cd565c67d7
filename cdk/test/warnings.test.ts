import { describe, expect, test } from 'vitest';
import { readSettings } from '../lib/settings.ts';
import { warnings } from '../lib/warnings.ts';
import { AUTHS, BASE, RETRIEVALS, VPC, WEBSOCKET } from './support.ts';

const INSIDE = { OPENSEARCH_DOMAIN_ENDPOINT: 'https://vpc-docs-abcdefghijklmnopqrstuvwxyz.us-east-1.es.amazonaws.com' };

describe('what is said before a stack is deployed', () => {
  test.each([
    [{}, []],
    [AUTHS['none'], ['open']],
    [AUTHS['bearer'], ['bearer']],
    [VPC, []],
    [{ ...WEBSOCKET, ...VPC }, ['nat']],
    [RETRIEVALS['domain'], ['opensearch-access']],
    [RETRIEVALS['collection'], ['opensearch-access']],
    [RETRIEVALS['new domain'], []],
    [{ ...VPC, ...RETRIEVALS['new domain'] }, ['opensearch-role']],
    [{ ...VPC, ...RETRIEVALS['new collection'] }, ['opensearch-nat']],
    [{ ...VPC, ...RETRIEVALS['domain'] }, ['opensearch-nat', 'opensearch-access']],
    [{ ...VPC, ...INSIDE }, ['opensearch-access']],
  ])('%j: %j', (vars, expected) => {
    expect(Object.keys(warnings(readSettings({ ...BASE, ...vars }), 0))).toEqual(expected);
  });

  test.each([RETRIEVALS['domain'], RETRIEVALS['collection']])('names every role that searches: %j', (vars) => {
    const said = (jobs: string) => warnings(readSettings({ ...BASE, ...vars, JOBS: jobs }), 0)['opensearch-access'];
    expect(said('off')).toMatch(/the function's role \(output FunctionRoleArn\)/);
    expect(said('on')).toMatch(/the functions' roles \(outputs FunctionRoleArn and WorkerRoleArn\)/);
  });

  test('includes a cost that comes without any call', () => {
    expect(warnings(readSettings(BASE), 7)['idle-cost']).toContain('$7.00 a month');
  });
});
