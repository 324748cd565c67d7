import { describe, expect, test } from 'vitest';
import { AUTHS, only, resources, statements, synth, template, text, VPC, WEBSOCKET } from './support.ts';

describe('a WebSocket API', () => {
  const plain = template(WEBSOCKET);

  test('has one stage, throttled, whose log has no key and no message', () => {
    const stage = only(template({ ...WEBSOCKET, THROTTLE_RATE: '7', THROTTLE_BURST: '9' }), 'AWS::ApiGatewayV2::Stage');
    expect(stage).toMatchObject({ StageName: 'prod', AutoDeploy: true, DefaultRouteSettings: { ThrottlingBurstLimit: 9, ThrottlingRateLimit: 7 } });
    const format = Object.values(JSON.parse(stage.AccessLogSettings.Format));
    expect(format.filter((value) => /apiKey$|authorizer|body|header|query/i.test(String(value)))).toEqual([]);
  });

  test('lets the function push to its own stage, and tells it where that is', () => {
    const [[api] = []] = resources(plain, 'AWS::ApiGatewayV2::Api');
    const pushes = statements(plain).filter(([, each]) => each.Action.includes('execute-api:ManageConnections'));
    const stage = `arn:aws:execute-api:us-east-1:<AWS::AccountId>:<${api}>/prod`;
    expect(pushes.map(([, each]) => each.Resource)).toEqual([[`${stage}/POST/@connections/*`, `${stage}/DELETE/@connections/*`]]);
    const { CALLBACK_URL } = only(plain, 'AWS::Lambda::Function').Environment.Variables;
    expect(text(CALLBACK_URL)).toBe(`https://<${api}>.execute-api.us-east-1.<AWS::URLSuffix>/prod`);
    expect(text(plain.Outputs['ApiUrl']?.Value)).toBe(`wss://<${api}>.execute-api.us-east-1.<AWS::URLSuffix>/prod`);
  });

  test('makes the plan after the stage that the plan names', () => {
    const [[stage] = []] = resources(plain, 'AWS::ApiGatewayV2::Stage');
    const [[, plan] = []] = resources(plain, 'AWS::ApiGateway::UsagePlan');
    expect(plan?.DependsOn).toContain(stage);
  });

  test('has its bearer keys read by the rest image, from whatever the browser can send', () => {
    const bearer = template({ ...WEBSOCKET, ...AUTHS['bearer'] });
    const authorizer = only(bearer, 'AWS::ApiGatewayV2::Authorizer');
    expect([authorizer.AuthorizerType, authorizer.IdentitySource ?? []]).toEqual(['REQUEST', []]);
    const image = text(only(bearer, 'AWS::Lambda::Function', 'Authorizer').Code.ImageUri);
    expect(image).toMatch(/\/llm-gateway-rest@sha256:b{64}$/);
    expect(text(only(bearer, 'AWS::Lambda::Function', 'Function').Code.ImageUri)).toMatch(/\/llm-gateway-ws@sha256:a{64}$/);
  });

  test('lets callers of IAM connect, and nothing else', () => {
    const callers = statements(template({ ...WEBSOCKET, ...AUTHS['iam'] })).filter(([id]) => id.startsWith('Callers'));
    expect(callers.map(([, each]) => [each.Action, each.Resource.join()])).toEqual([
      [['execute-api:Invoke'], expect.stringMatching(/<WebSocketApi[^>]*>\/prod\/\$connect$/)],
    ]);
  });

  test('in a VPC says that pushes need a NAT gateway, and makes no endpoint that would catch them', () => {
    const { template: inside, warnings } = synth({ ...WEBSOCKET, ...VPC });
    expect(warnings.join()).toContain('pushes through a NAT gateway');
    const services = resources(inside, 'AWS::EC2::VPCEndpoint').map(([, each]) => each.Properties.ServiceName);
    expect(services.filter((service) => service.includes('execute-api'))).toEqual([]);
  });
});

describe('a custom domain', () => {
  const DOMAIN = {
    DOMAIN_NAME: 'llm.example.com',
    CERTIFICATE_ARN: 'arn:aws:acm:us-east-1:123456789012:certificate/0a1b',
  };

  test.each([
    [{}, 'https://llm.example.com/', 'AWS::ApiGateway::Stage'],
    [WEBSOCKET, 'wss://llm.example.com/', 'AWS::ApiGatewayV2::Stage'],
  ])('leads to the stage, and pushes go on to its own address: %j', (type, url, stage) => {
    const made = template({ ...type, ...DOMAIN });
    expect(made.Outputs['ApiUrl']?.Value).toBe(url);
    expect(made.Outputs['DomainTarget']).toBeDefined();
    expect(made.Outputs['StageUrl']).toEqual(template(type).Outputs['ApiUrl']);
    expect(template(type).Outputs['StageUrl']).toBeUndefined();
    expect(resources(made, 'AWS::Route53::RecordSet')).toEqual([]);
    const [[, mapping] = []] = resources(made, 'AWS::ApiGatewayV2::ApiMapping');
    expect(mapping?.DependsOn).toContain(resources(made, stage)[0]?.[0]);
    const { CALLBACK_URL } = only(made, 'AWS::Lambda::Function').Environment.Variables;
    if (CALLBACK_URL) expect(text(CALLBACK_URL)).toContain('.execute-api.');
  });

  test('is entered in its hosted zone where that is named', () => {
    const made = template({ ...DOMAIN, HOSTED_ZONE_ID: 'Z0123456789ABC' });
    expect(only(made, 'AWS::Route53::RecordSet')).toMatchObject({ HostedZoneId: 'Z0123456789ABC', Name: 'llm.example.com', Type: 'A' });
    expect(made.Outputs['DomainTarget']).toBeUndefined();
  });
});
