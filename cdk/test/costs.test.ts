import { describe, expect, test } from 'vitest';
import { costPer1000, modelCostPer1000, STANDING } from '../lib/costs.ts';
import { readSettings } from '../lib/settings.ts';
import { BASE, RETRIEVALS, synth, template, VPC, WEBSOCKET } from './support.ts';

/** Each resource with a standing charge: its type and what it costs a month. */
function charges(vars: Record<string, string | undefined>): [string, string][] {
  const all = Object.values(template(vars).Resources);
  const costs = all.map(({ Type, Properties }): [string, number] => [Type, STANDING[Type]?.(Properties) ?? 0]);
  return costs.filter(([, cost]) => cost > 0).map(([type, cost]): [string, string] => [type, cost.toFixed(2)]).sort();
}

describe('when nobody calls', () => {
  test.each([{}, WEBSOCKET, { FUNCTION_URL: 'on' }, { BEARER_KEYS: 'true' }])('%j costs nothing', (vars) => {
    expect(charges(vars)).toEqual([]);
    const { template: made, warnings } = synth(vars);
    expect(made.Outputs['IdleCostUsd']?.Value).toBe('0.00');
    expect(warnings.join()).not.toContain('even when nobody calls');
  });

  test.each<[Record<string, string | undefined>, [string, string][]]>([
    [{ JOBS: 'on' }, [['AWS::Lambda::EventSourceMapping', '0.26']]],
    [{ WAF: 'on' }, [['AWS::WAFv2::WebACL', '7.00']]],
    [VPC, [['AWS::EC2::VPCEndpoint', '14.60']]],
    [{ ...VPC, VPC_ENDPOINTS: 'existing' }, []],
    [RETRIEVALS['domain'] ?? {}, []],
    [RETRIEVALS['new domain'] ?? {}, [['AWS::OpenSearchService::Domain', '27.50']]],
    [RETRIEVALS['new collection'] ?? {}, [['AWS::OpenSearchServerless::Collection', '175.20']]],
  ])('%j costs by the month: %j', (vars, expected) => {
    expect(charges(vars)).toEqual(expected);
  });

  test('alarms cost by the metrics that they look at', () => {
    const found = charges({ MONITORING: 'on' });
    expect(found.filter(([type]) => type === 'AWS::CloudWatch::Dashboard')).toEqual([['AWS::CloudWatch::Dashboard', '3.00']]);
    const alarms = found.filter(([type]) => type === 'AWS::CloudWatch::Alarm').map(([, cost]) => cost);
    expect(alarms).toEqual(['0.10', '0.10', '0.10', '0.30', '0.30', '0.30', '0.30']);
  });
});

describe('a thousand answers', () => {
  const cost = (vars: Record<string, string>) => costPer1000(readSettings({ ...BASE, ...vars }));

  test('cost cents beside the model', () => {
    // 2 s at 256 MB, a request of API Gateway and of Lambda each, and the tables.
    expect(cost({})).toBeCloseTo(1_000 * (2 * 0.25 * 0.0000166667 + 0.2e-6 + 3.5e-6) + 0.013, 6);
    expect(cost({ MEMORY_MB: '512' })).toBeGreaterThan(cost({}));
    expect(cost({ ARCHITECTURE: 'arm64' })).toBeLessThan(cost({}));
    expect(cost({ BEARER_KEYS: 'true' })).toBeGreaterThan(cost({}));
  });

  test('cost more over WebSocket the more often frames are pushed', () => {
    expect(cost({ ...WEBSOCKET, PUSH_INTERVAL_MS: '50' } as Record<string, string>)).toBeGreaterThan(cost(WEBSOCKET as Record<string, string>));
  });

  test('cost what the default model costs by its profile', () => {
    const model = (name: string) => modelCostPer1000(readSettings({ ...BASE, DEFAULT_MODEL: name }));
    // 1,000 tokens at $1 and 200 at $5 a million, a tenth more within a geography.
    expect(model('anthropic.claude-haiku-4-5-20251001-v1:0')).toBeCloseTo(2.2, 6);
    expect(model('global.anthropic.claude-haiku-4-5-20251001-v1:0')).toBeCloseTo(2, 6);
  });
});
