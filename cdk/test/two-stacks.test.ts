import { describe, expect, test } from 'vitest';
import { RETRIEVALS, resources, template, text, WEBSOCKET } from './support.ts';

/** Properties that AWS keeps unique in an account, by type. */
const UNIQUE: Record<string, string> = {
  'AWS::CloudWatch::Alarm': 'AlarmName',
  'AWS::CloudWatch::Dashboard': 'DashboardName',
  'AWS::DynamoDB::GlobalTable': 'TableName',
  'AWS::IAM::ManagedPolicy': 'ManagedPolicyName',
  'AWS::IAM::Role': 'RoleName',
  'AWS::Lambda::Function': 'FunctionName',
  'AWS::Logs::LogGroup': 'LogGroupName',
  'AWS::OpenSearchServerless::AccessPolicy': 'Name',
  'AWS::OpenSearchServerless::Collection': 'Name',
  'AWS::OpenSearchServerless::SecurityPolicy': 'Name',
  'AWS::OpenSearchService::Domain': 'DomainName',
  'AWS::SNS::Topic': 'TopicName',
  'AWS::SQS::Queue': 'QueueName',
  'AWS::WAFv2::WebACL': 'Name',
};

function names(vars: Record<string, string | undefined>): string[] {
  const made = template(vars);
  return Object.entries(UNIQUE).flatMap(([type, property]) =>
    resources(made, type).flatMap(([, { Properties }]) => (Properties?.[property] ? [`${type} ${text(Properties[property])}`] : [])),
  );
}

describe('two stacks in one account', () => {
  const serverless = { OPENSEARCH_CREATE: 'serverless', OPENSEARCH_WRITERS: 'arn:aws:iam::123456789012:role/A' };
  const rest = { JOBS: 'on', WAF: 'on', MONITORING: 'on', ALARM_EMAIL: 'ops@example.com', ...serverless };

  test.each([rest, { ...WEBSOCKET, MONITORING: 'on', OPENSEARCH_CREATE: 'domain' }])('share no name: %j', (vars) => {
    const first = names({ ...vars, STACK_NAME: 'LlmGatewayStack' });
    const second = names({ ...vars, STACK_NAME: 'LlmGatewayStackOfAnotherTeam' });
    expect(first.filter((name) => second.includes(name))).toEqual([]);
  });

  test('name only what must be named: the collection and its policies', () => {
    const types = new Set(names(rest).map((name) => name.split(' ')[0]));
    expect([...types].sort()).toEqual(['AccessPolicy', 'Collection', 'SecurityPolicy'].map((type) => `AWS::OpenSearchServerless::${type}`));
  });

  test('are told apart by CloudWatch, which knows a REST API by its name', () => {
    const api = (name: string) => resources(template({ STACK_NAME: name }), 'AWS::ApiGateway::RestApi')[0]?.[1].Properties.Name;
    expect([api('One'), api('Two')]).toEqual(['One', 'Two']);
  });
});

describe('what stays when the stack goes', () => {
  test('is the tables, and the leave of API Gateway to write logs, which the account shares', () => {
    const kept = Object.values(template({ JOBS: 'on', MONITORING: 'on' }).Resources).filter((each) => each.DeletionPolicy === 'Retain');
    expect(kept.map((each) => each.Type).sort()).toEqual(
      ['AWS::ApiGateway::Account', 'AWS::DynamoDB::GlobalTable', 'AWS::DynamoDB::GlobalTable', 'AWS::IAM::Role'].sort(),
    );
  });

  test.each([RETRIEVALS['new domain'], RETRIEVALS['new collection']])('is an OpenSearch too, but not of a first deployment that fails: %j', (vars) => {
    const made = Object.values(template(vars ?? {}).Resources).filter((each) => each.Type.startsWith('AWS::OpenSearch') && !each.Type.endsWith('AccessPolicy'));
    expect(made.length).toBeGreaterThan(0);
    for (const each of made) expect([each.DeletionPolicy, each.UpdateReplacePolicy], each.Type).toEqual(['RetainExceptOnCreate', 'Retain']);
  });

  test('is stated of everything that keeps something', () => {
    const vars = { JOBS: 'on', RETAIN_TABLES: 'false', OPENSEARCH_CREATE: 'domain' };
    const keeping = ['AWS::DynamoDB::GlobalTable', 'AWS::Logs::LogGroup', 'AWS::OpenSearchService::Domain', 'AWS::SQS::Queue'];
    const made = Object.values(template(vars).Resources).filter((each) => keeping.includes(each.Type));
    expect(made.length).toBeGreaterThan(6);
    for (const each of made) expect(each.DeletionPolicy, each.Type).toBe('Delete');
  });
});
