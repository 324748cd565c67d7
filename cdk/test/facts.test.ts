import { describe, expect, test } from 'vitest';
import { facts } from '../lib/facts.ts';
import { template } from './support.ts';

describe('what scripts/deploy reads of a template', () => {
  const SET = { REGION_ID: 'us-east-1' };

  test('without a setting the catalog’s default model is asked, by a name without a colon', () => {
    const found = facts(template({}), SET);
    expect(found).toMatchObject({
      default_model: 'anthropic.claude-haiku-4-5-20251001-v1:0',
      models: 'anthropic.claude-haiku-4-5-20251001-v1:0',
      callable: 'claude-haiku-4-5',
      workers: '0',
      idle_cost: '0.00',
    });
  });

  test('allowed models are the foundation models behind their profiles and aliases, each once', () => {
    const ALLOWED_MODELS = 'us.amazon.nova-lite-v1:0, anthropic.claude-instant-v1,amazon.nova-lite-v1:0';
    const found = facts(template({}), { ...SET, DEFAULT_MODEL: 'us.amazon.nova-lite-v1:0', ALLOWED_MODELS });
    expect(found['default_model']).toBe('amazon.nova-lite-v1:0');
    expect(found['models']).toBe('amazon.nova-lite-v1:0 anthropic.claude-haiku-4-5-20251001-v1:0');
    expect(found['callable'], 'an alias may take another way than this profile').toBe('us.amazon.nova-lite-v1:0');
  });

  test('workers and the standing charge come from the resources', () => {
    const found = facts(template({ JOBS: 'on', JOBS_CONCURRENCY: '7', WAF: 'on' }), SET);
    expect(found['workers']).toBe('7');
    expect(Number(found['idle_cost'])).toBeGreaterThan(6);
  });
});
