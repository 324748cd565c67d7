/** What must hold of every stack, whatever is switched on; checked for each combination. */

import { expect } from 'vitest';
import { NO_STANDING_CHARGE, STANDING } from '../lib/costs.ts';
import { AUTHS, RETRIEVALS, resources, statements, synth, type Template, text, VPC, WEBSOCKET } from './support.ts';
import type { Vars } from '../lib/contract.ts';

export interface Combination {
  readonly name: string;
  readonly type: 'rest' | 'websocket';
  readonly auth: string;
  readonly jobs: boolean;
  readonly url: boolean;
  readonly vpc: boolean;
  readonly retrieval: string;
}

/** Every combination that AWS allows. */
export function combinations(type: 'rest' | 'websocket', auth: string): Combination[] {
  const either = [false, true];
  const never = [false];
  const found: Combination[] = [];
  for (const jobs of type === 'rest' ? either : never)
    for (const url of type === 'rest' ? either : never)
      for (const vpc of url ? never : either)
        for (const retrieval of Object.keys(RETRIEVALS)) {
          const on = [jobs ? 'jobs' : '', url ? 'function URL' : '', vpc ? 'VPC' : ''].filter((name) => name !== '');
          const name = [...on, `OpenSearch: ${retrieval}`].join(', ');
          found.push({ name, type, auth, jobs, url, vpc, retrieval });
        }
  return found;
}

/** A model of each kind: by profiles, by its own id, and one that embeds. All of them are another test's. */
const MODELS = ['anthropic.claude-haiku-4-5-20251001-v1:0', 'openai.gpt-oss-20b-1:0', 'amazon.titan-embed-text-v2:0'];

function vars(each: Combination): Vars {
  return {
    ALLOWED_MODELS: MODELS.join(','),
    ...(each.type === 'websocket' ? WEBSOCKET : {}),
    ...AUTHS[each.auth],
    ...(each.jobs ? { JOBS: 'on' } : {}),
    ...(each.url ? { FUNCTION_URL: 'on' } : {}),
    ...(each.vpc ? VPC : {}),
    ...RETRIEVALS[each.retrieval],
  };
}

/** Checks one. */
export function check(each: Combination): void {
  const { template, warnings } = synth(vars(each));
  refusesStrangers(template, each);
  warnsWhereOpen(warnings, each);
  hasWhatIsOn(template, each);
  isAccountedFor(template);
  keepsToItself(template);
  fitsLambda(template);
}

/** Whoever brings no credentials is refused on every route, where credentials are asked for. */
function refusesStrangers(template: Template, { type, auth, url }: Combination): void {
  const key = ['api-key', 'api-key+iam', 'bearer'].includes(auth);
  const kind = { iam: 'AWS_IAM', 'api-key+iam': 'AWS_IAM', bearer: 'CUSTOM' }[auth] ?? 'NONE';
  if (type === 'rest') {
    const methods = resources(template, 'AWS::ApiGateway::Method');
    expect(methods.map(([, { Properties }]) => Properties.HttpMethod).sort()).toEqual(['ANY', 'ANY', 'POST', 'POST']);
    for (const [, { Properties }] of methods) {
      expect([Properties.AuthorizationType, Properties.ApiKeyRequired]).toEqual([kind, key]);
      expect(Properties.AuthorizerId !== undefined).toBe(auth === 'bearer');
    }
  } else {
    const routes = resources(template, 'AWS::ApiGatewayV2::Route').map(([, { Properties }]) => Properties);
    const connect = routes.filter((route) => route.RouteKey === '$connect');
    expect(routes.map((route) => route.RouteKey).sort()).toEqual(['$connect', '$default', '$disconnect']);
    expect(connect.map((route) => [route.AuthorizationType, route.ApiKeyRequired])).toEqual([[kind, key]]);
    expect(connect[0].AuthorizerId !== undefined).toBe(auth === 'bearer');
  }
  hasPlan(template, key, type);
  for (const [, { Properties }] of resources(template, 'AWS::Lambda::Url')) expect(Properties.AuthType).toBe('AWS_IAM');
  expect(resources(template, 'AWS::Lambda::Url')).toHaveLength(url ? 1 : 0);
  // Nobody but this account's own APIs may invoke a function.
  for (const [, { Properties }] of resources(template, 'AWS::Lambda::Permission')) {
    expect(Properties.Principal).toBe('apigateway.amazonaws.com');
    expect(text(Properties.SourceArn)).toMatch(/^arn:aws:execute-api:us-east-1:<AWS::AccountId>:</);
  }
}

/** A key opens a stage only through a plan that has both. */
function hasPlan(template: Template, key: boolean, type: 'rest' | 'websocket'): void {
  const [plan] = resources(template, 'AWS::ApiGateway::UsagePlan');
  const keys = resources(template, 'AWS::ApiGateway::UsagePlanKey');
  expect([plan !== undefined, keys.length]).toEqual([key, key ? 1 : 0]);
  if (!plan) return;
  const [api] = resources(template, type === 'rest' ? 'AWS::ApiGateway::RestApi' : 'AWS::ApiGatewayV2::Api');
  const [stage] = plan[1].Properties.ApiStages;
  expect(stage.ApiId).toEqual({ Ref: api?.[0] });
  expect(keys[0]?.[1].Properties.UsagePlanId).toEqual({ Ref: plan[0] });
  const source = type === 'rest' ? api?.[1].Properties.ApiKeySourceType : api?.[1].Properties.ApiKeySelectionExpression;
  const bearer = resources(template, type === 'rest' ? 'AWS::ApiGateway::Authorizer' : 'AWS::ApiGatewayV2::Authorizer').length > 0;
  const sources = type === 'rest' ? ['HEADER', 'AUTHORIZER'] : ['$request.header.x-api-key', '$context.authorizer.usageIdentifierKey'];
  expect(source).toBe(sources[bearer ? 1 : 0]);
}

function warnsWhereOpen(warnings: string[], { auth }: Combination): void {
  const loud = warnings.filter((warning) => warning.startsWith('ANYONE WHO KNOWS THE URL MAY CALL'));
  expect(loud).toHaveLength(auth === 'none' ? 1 : 0);
}

function hasWhatIsOn(template: Template, each: Combination): void {
  const roles = resources(template, 'AWS::Lambda::Function').map(([, { Properties }]) => Properties.Environment.Variables.ROLE);
  const expected = [
    each.type === 'rest' ? 'api' : undefined,
    ...(each.auth === 'bearer' ? ['authorizer'] : []),
    ...(each.jobs ? ['worker'] : []),
  ];
  expect(roles.sort()).toEqual(expected.sort());
  expect(resources(template, 'AWS::SQS::Queue')).toHaveLength(each.jobs ? 2 : 0);
  const outputs = [
    'AnswersTable',
    'ApiUrl',
    'AuthMode',
    'CostPer1000Usd',
    'FunctionRoleArn',
    'IdleCostUsd',
    'ImageDigest',
    'ModelCostPer1000Usd',
    'StateTable',
    ...(['api-key', 'api-key+iam', 'bearer'].includes(each.auth) ? ['ApiKeyId', 'UsagePlanId'] : []),
    ...(each.jobs ? ['JobsQueueUrl', 'DeadLetterQueueUrl', 'WorkerRoleArn'] : []),
    ...(each.url ? ['FunctionUrl'] : []),
    ...(each.type === 'websocket' && each.auth === 'bearer' ? ['AuthorizerImageDigest'] : []),
    ...(each.url || ['iam', 'api-key+iam'].includes(each.auth) ? ['CallerPolicyArn'] : []),
    ...(each.retrieval === 'none' ? [] : ['OpenSearchEndpoint']),
    ...(each.retrieval.startsWith('new') ? ['DocumentsPolicyArn'] : []),
  ];
  expect(Object.keys(template.Outputs).sort()).toEqual(outputs.sort());
  expect(template.Outputs['AuthMode']?.Value).toBe(each.auth);
}

/** Each kind of resource is known to cost by the month or not; the output adds up what does. */
function isAccountedFor(template: Template): void {
  const all = Object.values(template.Resources);
  const unknown = all.filter(({ Type }) => !(Type in STANDING) && !NO_STANDING_CHARGE.has(Type));
  expect(unknown.map(({ Type }) => Type)).toEqual([]);
  const sum = all.reduce((sum, { Type, Properties }) => sum + (STANDING[Type]?.(Properties ?? {}) ?? 0), 0);
  expect(template.Outputs['IdleCostUsd']?.Value).toBe(sum.toFixed(2));
}

/** Where AWS knows no resource, or none that is known beforehand: every `*` that a policy may have. */
const WILDCARDS: readonly (readonly [actions: RegExp, resource: RegExp, why: string])[] = [
  [/^ec2:/, /^\*$/, "Lambda asks for network rights on all resources, and the function's code is denied them"],
  [/^execute-api:ManageConnections$/, /\/prod\/(POST|DELETE)\/@connections\/\*$/, 'connections come and go; the stage is named'],
  [/^execute-api:Invoke$/, /\/prod\/\*\/\*$/, 'a caller may use every method and path of the stage'],
  [/^es:ESHttp(Get|Post|Put)$/, /<RetrievalDomain[0-9A-F]+\.Arn>\/llm-gateway\/\*$/, 'documents below the index'],
];

function keepsToItself(template: Template): void {
  for (const [policy, { Action, Resource }] of statements(template)) {
    for (const action of Action) {
      expect(action, policy).toMatch(/^[a-z0-9-]+:[A-Za-z]+$/);
      for (const resource of Resource.filter((resource) => resource.includes('*'))) {
        const named = WILDCARDS.some(([actions, resources]) => actions.test(action) && resources.test(resource));
        expect(named, `${policy}: ${action} on ${resource}`).toBe(true);
      }
    }
  }
}

/** Limits of AWS that CloudFormation would find out about in the middle of a deployment. */
function fitsLambda(template: Template): void {
  for (const [, { Properties }] of resources(template, 'AWS::Lambda::Function')) {
    const variables = Object.entries(Properties.Environment.Variables as Record<string, unknown>);
    expect(variables.map(([name, value]) => name + text(value)).join('').length).toBeLessThan(4_096);
  }
  for (const [, { Properties }] of resources(template, 'AWS::IAM::Role')) {
    expect(Properties.ManagedPolicyArns?.length ?? 0).toBeLessThanOrEqual(10);
  }
  for (const [, { Properties }] of resources(template, 'AWS::IAM::ManagedPolicy')) {
    const document = JSON.stringify(Properties.PolicyDocument, (_, value) =>
      value?.['Fn::Join'] ? text(value).replaceAll(/<[^>]*>/g, '123456789012') : value,
    );
    expect(document.length).toBeLessThanOrEqual(6_144);
  }
}
