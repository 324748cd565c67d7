import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { Catalog } from '../lib/catalog.ts';
import { BASE, resources, statements, template } from './support.ts';
import { readSettings } from '../lib/settings.ts';

const CASES = JSON.parse(readFileSync(new URL('../../contract/models.json', import.meta.url), 'utf8')) as {
  choices: { asked: string; region: string; invoked: string | null }[];
};

const HAIKU = 'anthropic.claude-haiku-4-5-20251001-v1:0';
const STREAM = 'bedrock:InvokeModelWithResponseStream';
const ACCOUNT = '<AWS::AccountId>';

/** `action on resource (condition)` for each thing that is allowed of Bedrock. */
function allowed(vars: Record<string, string>): string[] {
  const bedrock = statements(template(vars)).filter(([, each]) => each.Action.some((action) => action.startsWith('bedrock:')));
  return bedrock.flatMap(([, { Action, Resource, Condition }]) => {
    const equals = Object.entries(Condition?.['StringEquals'] ?? {}).map(([key, value]) => [key.split(':')[1], JSON.stringify(value)]);
    const through = equals.map(([key, value]) => `${key} ${value?.replaceAll(/.*(inference-profile[^"]*|"[a-z0-9-]+").*/g, '$1')}`);
    return Resource.map((resource) => [Action.join(), resource, ...through].join(' | '));
  });
}

describe('the choice of a model', () => {
  test.each(CASES.choices)('$asked in $region is $invoked, as the gateway has it', ({ asked, region, invoked }) => {
    const way = new Catalog(region).choose(asked);
    expect(way ? [way.profile, way.model].filter((part) => part !== undefined).join('.') : null).toBe(invoked);
  });
});

describe('what a function may invoke', () => {
  test('is the profile, and the model wherever that profile carries a request, through it alone', () => {
    const through = `InferenceProfileArn inference-profile/us.${HAIKU}`;
    const world = `InferenceProfileArn inference-profile/global.${HAIKU}`;
    const model = (region: string) => `${STREAM} | arn:aws:bedrock:${region}::foundation-model/${HAIKU}`;
    const profile = (of: string) => `${STREAM} | arn:aws:bedrock:us-east-1:${ACCOUNT}:inference-profile/${of}.${HAIKU}`;
    expect(allowed({ ALLOWED_MODELS: HAIKU })).toEqual([
      profile('us'),
      ...['us-east-1', 'us-east-2', 'us-west-1', 'us-west-2'].map((region) => `${model(region)} | ${through}`),
      profile('global'),
      `${model('us-east-1')} | ${world} | RequestedRegion "us-east-1"`,
      `${model('')} | ${world} | RequestedRegion "unspecified"`,
    ]);
  });

  test('is one profile alone where that is what is allowed', () => {
    const name = `global.${HAIKU}`;
    const found = allowed({ ALLOWED_MODELS: name, DEFAULT_MODEL: name });
    expect(found).toHaveLength(3);
    expect(found.every((each) => each.includes(name) || each.includes(`global.${HAIKU}`))).toBe(true);
  });

  test('is the successor of a retired id, by the way that it is asked', () => {
    const found = allowed({ ALLOWED_MODELS: 'anthropic.claude-v2', DEFAULT_MODEL: 'anthropic.claude-v2' });
    expect(found[0]).toContain('inference-profile/us.anthropic.claude-sonnet-4-6');
    expect(found.join()).not.toContain('global');
  });

  test('is a model without profiles by its own id, in the region alone', () => {
    const name = 'openai.gpt-oss-20b-1:0';
    expect(allowed({ ALLOWED_MODELS: name, DEFAULT_MODEL: name })).toEqual([
      `${STREAM} | arn:aws:bedrock:us-east-1::foundation-model/${name}`,
    ]);
  });

  test('is the embedding model of the search too, without a stream, unless only words are searched', () => {
    const search = { ALLOWED_MODELS: HAIKU, OPENSEARCH_CREATE: 'domain' };
    const embedder = 'bedrock:InvokeModel | arn:aws:bedrock:us-east-1::foundation-model/amazon.titan-embed-text-v2:0';
    expect(allowed(search)).toContain(embedder);
    expect(allowed({ ...search, RETRIEVAL_MODE: 'text' })).not.toContain(embedder);
    expect(allowed({ ALLOWED_MODELS: HAIKU })).not.toContain(embedder);
  });

  test('is an embedding model of callers for the function behind the REST API only', () => {
    const embeds = (vars: Record<string, string>, id: string) => {
      const made = template(vars);
      const role = resources(made, 'AWS::IAM::Role').find(([name]) => name.startsWith(`${id}Role`))?.[1].Properties;
      const own = role.ManagedPolicyArns.map((each: { Ref: string }) => each.Ref);
      const may = statements(made).filter(([policy, each]) => own.includes(policy) && each.Action.includes('bedrock:InvokeModel'));
      return [...new Set(may.flatMap(([, { Resource }]) => Resource.map((resource) => resource.split('/')[1])))];
    };
    const search = { OPENSEARCH_CREATE: 'domain' };
    expect(embeds({ JOBS: 'on' }, 'Function').length).toBeGreaterThan(3);
    expect(embeds({ JOBS: 'on' }, 'Worker')).toEqual([]);
    expect(embeds({ JOBS: 'on', ...search }, 'Worker')).toEqual(['amazon.titan-embed-text-v2:0']);
    expect(embeds({ API_GATEWAY_TYPE: 'websocket' }, 'Function')).toEqual([]);
    expect(embeds({ API_GATEWAY_TYPE: 'websocket', ...search }, 'Function')).toEqual(['amazon.titan-embed-text-v2:0']);
  });

  test('is every model that can be reached, where nothing is said, and no model inside the process', () => {
    const reached = new Set(readSettings(BASE).models.map((way) => way.model));
    expect(reached.size).toBeGreaterThan(30);
    expect([...reached].filter((model) => model.startsWith('local.'))).toEqual([]);
    const named = new Set(allowed({}).map((each) => each.split('foundation-model/')[1]?.split(' ')[0]));
    named.delete(undefined);
    expect([...named].sort()).toEqual([...reached].sort());
  });

  test.each(['us-east-1', 'eu-central-1', 'ap-northeast-1', 'ap-southeast-2', 'sa-east-1'])(
    'fits the ten policies that a role may have, of 6,144 characters each: %s',
    (region) => {
      const policies = resources(template({ REGION_ID: region }), 'AWS::IAM::ManagedPolicy');
      expect(policies.length).toBeGreaterThan(0);
      expect(policies.length).toBeLessThanOrEqual(10);
      for (const [, { Properties }] of policies) {
        const joined = JSON.stringify(Properties.PolicyDocument, (_, value) =>
          value?.['Fn::Join'] ? value['Fn::Join'][1].map((part: unknown) => (typeof part === 'string' ? part : '123456789012')).join('') : value,
        );
        expect(joined.length).toBeLessThanOrEqual(6_144);
      }
    },
  );

  test('is in the partition of the region', () => {
    const vars = { REGION_ID: 'us-gov-west-1', DEFAULT_MODEL: 'anthropic.claude-sonnet-4-5-20250929-v1:0' };
    const found = allowed({ ...vars, ALLOWED_MODELS: vars.DEFAULT_MODEL });
    expect(found[0]).toContain(`arn:aws-us-gov:bedrock:us-gov-west-1:${ACCOUNT}:inference-profile/us-gov.`);
    expect(found.some((each) => each.includes('us-gov-east-1'))).toBe(true);
  });
});
