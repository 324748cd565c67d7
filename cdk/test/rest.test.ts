import { readFileSync } from 'node:fs';
import { ResponseType } from 'aws-cdk-lib/aws-apigateway';
import { describe, expect, test } from 'vitest';
import { RESPONSES } from '../lib/gateway-responses.ts';
import { AUTHS, only, resources, statements, synth, template, text } from './support.ts';

const ORIGINS = { ALLOWED_ORIGINS: 'https://a.example.com,https://b.example.com' };

describe('a REST API', () => {
  const plain = template();

  test('is Regional, and streams the answers of every route for 15 minutes', () => {
    expect(only(plain, 'AWS::ApiGateway::RestApi').EndpointConfiguration).toEqual({ Types: ['REGIONAL'] });
    const methods = resources(plain, 'AWS::ApiGateway::Method').map(([, { Properties }]) => Properties.Integration);
    expect(methods).toHaveLength(4);
    for (const integration of methods) {
      expect(integration).toMatchObject({ Type: 'AWS_PROXY', ResponseTransferMode: 'STREAM', TimeoutInMillis: 900_000 });
      expect(text(integration.Uri)).toMatch(/2021-11-15\/functions\/<Function[^>]*>\/response-streaming-invocations$/);
    }
    expect(only(plain, 'AWS::Lambda::Function').Timeout).toBe(900);
  });

  test('checks that a JSON body is an object', () => {
    const posts = resources(plain, 'AWS::ApiGateway::Method').filter(([, each]) => each.Properties.HttpMethod === 'POST');
    const [[model] = []] = resources(plain, 'AWS::ApiGateway::Model');
    expect(posts.map(([, each]) => each.Properties.RequestModels)).toEqual(Array(2).fill({ 'application/json': { Ref: model } }));
    expect(only(plain, 'AWS::ApiGateway::Model').Schema).toMatchObject({ type: 'object' });
    expect(only(plain, 'AWS::ApiGateway::RequestValidator')).toMatchObject({ ValidateRequestBody: true, ValidateRequestParameters: true });
  });

  test('is throttled, counted, and logs no key and no body', () => {
    const bounded = template({ THROTTLE_RATE: '7', THROTTLE_BURST: '9', QUOTA_PER_MONTH: '1000', LOG_RETENTION_DAYS: '90' });
    const stage = only(bounded, 'AWS::ApiGateway::Stage');
    expect(stage.MethodSettings).toEqual([
      { DataTraceEnabled: false, HttpMethod: '*', ResourcePath: '/*', ThrottlingBurstLimit: 9, ThrottlingRateLimit: 7 },
    ]);
    const plan = only(bounded, 'AWS::ApiGateway::UsagePlan');
    expect([plan.Throttle, plan.Quota]).toEqual([{ BurstLimit: 9, RateLimit: 7 }, { Limit: 1000, Period: 'MONTH' }]);
    const format = Object.values(JSON.parse(stage.AccessLogSetting.Format));
    expect(format.filter((value) => /apiKey$|authorizer|body|header/i.test(String(value)))).toEqual([]);
    const groups = resources(bounded, 'AWS::Logs::LogGroup').map(([, { Properties }]) => Properties.RetentionInDays);
    expect(groups).toEqual([90, 90]);
  });

  test('asks the authorizer about every request that may carry a bearer key, and keeps no answer', () => {
    const bearer = template(AUTHS['bearer']);
    expect(only(bearer, 'AWS::ApiGateway::RestApi').ApiKeySourceType).toBe('AUTHORIZER');
    const authorizer = only(bearer, 'AWS::ApiGateway::Authorizer');
    expect([authorizer.Type, authorizer.AuthorizerResultTtlInSeconds]).toEqual(['REQUEST', 0]);
    expect(authorizer).not.toHaveProperty('IdentitySource');
    expect(synth(AUTHS['bearer'] ?? {}).warnings.join()).toMatch(/authorizer runs at each call: \$0\.000\d for 1,000/);
  });
});

describe('an authorizer', () => {
  test('may write its log, and nothing else', () => {
    const allowed = statements(template(AUTHS['bearer'])).filter(([id]) => id.startsWith('Authorizer'));
    expect(allowed.map(([, each]) => each.Action)).toEqual([['logs:CreateLogStream', 'logs:PutLogEvents']]);
  });
});

describe('what API Gateway says by itself', () => {
  const shown = resources(template(ORIGINS), 'AWS::ApiGateway::GatewayResponse').map(([, { Properties }]) => Properties);

  test('is worded for every response type there is', () => {
    const all = Object.values(ResponseType).filter((value) => value instanceof ResponseType);
    expect(Object.keys(RESPONSES).sort()).toEqual(all.map((type) => type.responseType).sort());
    expect(shown.map((each) => each.ResponseType).sort()).toEqual(all.map((type) => type.responseType).sort());
  });

  test("has the gateway's error shape, with codes and types of its table", () => {
    const source = readFileSync(new URL('../../lambda/gateway/src/error.rs', import.meta.url), 'utf8');
    const table = new Map([...source.matchAll(/\(\d{3}, "([a-z_]+)", "([a-z_]+)"\)/g)].map(([, code, type]) => [code, type]));
    for (const { ResponseTemplates, ResponseType: type } of shown) {
      const said = ResponseTemplates['application/json'].replaceAll('$context.error.messageString', '"a reason"');
      const { message, error } = JSON.parse(said.replaceAll('$context.requestId', 'r-1'));
      expect(Object.keys(error), type).toEqual(['message', 'type', 'code', 'param', 'request_id']);
      expect([error.message, error.request_id]).toEqual([message, 'r-1']);
      expect(table.get(error.code), error.code).toBe(error.type);
    }
  });

  test('tells when to try again, and when not to', () => {
    const headers = Object.fromEntries(shown.map((each) => [each.ResponseType, each.ResponseParameters]));
    expect(headers['THROTTLED']['gatewayresponse.header.Retry-After']).toBe("'1'");
    for (const type of ['INTEGRATION_TIMEOUT', 'QUOTA_EXCEEDED']) {
      expect(headers[type]['gatewayresponse.header.x-should-retry']).toBe("'false'");
    }
    for (const each of shown) expect(each.ResponseParameters['gatewayresponse.header.x-request-id']).toBe('context.requestId');
  });

  test('is deployed with the API: another word makes another deployment', () => {
    const deployment = (vars: Record<string, string>) => resources(template(vars), 'AWS::ApiGateway::Deployment')[0]?.[0];
    expect(deployment(ORIGINS)).not.toBe(deployment({}));
    expect(deployment({ ALLOWED_ORIGINS: 'https://a.example.com' })).not.toBe(deployment({ ALLOWED_ORIGINS: 'https://b.example.com' }));
  });
});

describe('web pages', () => {
  test('may not call unless their origin is allowed', () => {
    const none = template();
    expect(JSON.stringify(none)).not.toContain('Access-Control');
    expect(resources(none, 'AWS::ApiGateway::Method').filter(([, each]) => each.Properties.HttpMethod === 'OPTIONS')).toEqual([]);
  });

  test('of one origin are named; of several each is answered by its own name, and no other', () => {
    const one = resources(template({ ALLOWED_ORIGINS: 'https://a.example.com' }), 'AWS::ApiGateway::GatewayResponse');
    for (const [, each] of one) {
      expect(each.Properties.ResponseParameters['gatewayresponse.header.Access-Control-Allow-Origin']).toBe("'https://a.example.com'");
    }
    const preflights = resources(template(ORIGINS), 'AWS::ApiGateway::Method').filter(([, each]) => each.Properties.HttpMethod === 'OPTIONS');
    expect(preflights).toHaveLength(2);
    for (const [, { Properties }] of preflights) {
      expect([Properties.AuthorizationType, Properties.Integration.Type]).toEqual(['NONE', 'MOCK']);
      const answer = JSON.stringify(Properties.Integration.IntegrationResponses);
      expect(answer).toContain('https://b.example.com');
      expect(answer).not.toContain("'*'");
    }
  });
});

describe('a function URL', () => {
  test('streams, and is called through the URL only: who may call it cannot invoke the function', () => {
    const vars = { FUNCTION_URL: 'on' };
    expect(only(template(vars), 'AWS::Lambda::Url')).toMatchObject({ AuthType: 'AWS_IAM', InvokeMode: 'RESPONSE_STREAM' });
    const callers = statements(template(vars)).filter(([id]) => id.startsWith('Callers'));
    expect(callers.map(([, each]) => [each.Action, each.Condition])).toEqual([
      [['lambda:InvokeFunctionUrl'], { StringEquals: { 'lambda:FunctionUrlAuthType': 'AWS_IAM' } }],
      [['lambda:InvokeFunction'], { Bool: { 'lambda:InvokedViaFunctionUrl': 'true' } }],
    ]);
  });
});

describe('the firewall', () => {
  test('stands before the stage and looks at senders, never at prompts', () => {
    const guarded = template({ WAF: 'on', THROTTLE_RATE: '10' });
    const rules = only(guarded, 'AWS::WAFv2::WebACL').Rules.map((rule: { Statement: object }) => Object.values(rule.Statement)[0]);
    expect(rules).toEqual([
      { VendorName: 'AWS', Name: 'AWSManagedRulesAmazonIpReputationList' },
      { Limit: 600, AggregateKeyType: 'IP' },
    ]);
    expect(text(only(guarded, 'AWS::WAFv2::WebACLAssociation').ResourceArn)).toMatch(/\/restapis\/<RestApi[^>]*>\/stages\/</);
  });
});
