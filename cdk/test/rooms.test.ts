import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { PLACEMENT_ACTIONS } from '../lib/network.ts';
import { regionOf } from '../lib/retrieval-settings.ts';
import { AUTHS, only, RETRIEVALS, resources, statements, synth, template, text, VPC } from './support.ts';

/** What the policies of a logical id's beginning allow, as `action on resource`. */
function allowed(made: ReturnType<typeof template>, id: string, service: string): string[] {
  const own = statements(made).filter(([policy, each]) => policy.startsWith(id) && each.Effect === 'Allow');
  const pairs = own.flatMap(([, { Action, Resource }]) => Action.flatMap((action) => Resource.map((on) => `${action} on ${on}`)));
  return pairs.filter((pair) => pair.startsWith(`${service}:`)).map((pair) => pair.replaceAll(/[0-9A-F]{8}(?=[.>])/g, ''));
}

describe('the store', () => {
  test('is two tables on demand, encrypted, with a time to live and a way back to any second', () => {
    const tables = resources(template(), 'AWS::DynamoDB::GlobalTable');
    expect(tables.map(([, { Properties }]) => Properties.KeySchema.map((key: { AttributeName: string }) => key.AttributeName))).toEqual([
      ['pk'],
      ['pk', 'sk'],
    ]);
    for (const [, { Properties }] of tables) {
      expect(Properties.BillingMode).toBe('PAY_PER_REQUEST');
      expect(Properties.TimeToLiveSpecification).toEqual({ AttributeName: 'expires_at', Enabled: true });
      expect(Properties.SSESpecification).toEqual({ SSEEnabled: false });
      expect(Properties.Replicas[0].PointInTimeRecoverySpecification).toEqual({ PointInTimeRecoveryEnabled: true });
    }
  });

  test.each([
    ['true', true, 'Retain'],
    ['false', false, 'Delete'],
  ])('outlives the stack or not, as RETAIN_TABLES=%s says', (value, protection, policy) => {
    for (const [, table] of resources(template({ RETAIN_TABLES: value }), 'AWS::DynamoDB::GlobalTable')) {
      expect(table.Properties.Replicas[0].DeletionProtectionEnabled).toBe(protection);
      expect([table.DeletionPolicy, table.UpdateReplacePolicy]).toEqual([policy, policy]);
    }
  });

  test('is used by each operation that the gateway makes, on the table that it makes it on', () => {
    expect(allowed(template(), 'Function', 'dynamodb')).toEqual([
      'dynamodb:BatchGetItem on <StoreAnswers.Arn>',
      'dynamodb:PutItem on <StoreAnswers.Arn>',
      'dynamodb:BatchWriteItem on <StoreState.Arn>',
      'dynamodb:DeleteItem on <StoreState.Arn>',
      'dynamodb:GetItem on <StoreState.Arn>',
      'dynamodb:PutItem on <StoreState.Arn>',
      'dynamodb:Query on <StoreState.Arn>',
      'dynamodb:UpdateItem on <StoreState.Arn>',
    ]);
  });
});

describe('jobs', () => {
  const made = template({ JOBS: 'on', JOBS_CONCURRENCY: '17' });

  test('wait in a standard queue for a week, and in its dead letters for two, encrypted and over TLS only', () => {
    const queue = only(made, 'AWS::SQS::Queue', 'JobsQueue');
    expect(queue).toMatchObject({ MessageRetentionPeriod: 604_800, VisibilityTimeout: 900, SqsManagedSseEnabled: true });
    expect(queue.FifoQueue).toBeUndefined();
    expect(queue.RedrivePolicy.maxReceiveCount).toBe(5);
    expect(text(queue.RedrivePolicy.deadLetterTargetArn)).toMatch(/^<JobsDeadLetters/);
    expect(only(made, 'AWS::SQS::Queue', 'JobsDeadLetters')).toMatchObject({ MessageRetentionPeriod: 1_209_600, SqsManagedSseEnabled: true });
    const policies = resources(made, 'AWS::SQS::QueuePolicy').flatMap(([, each]) => each.Properties.PolicyDocument.Statement);
    expect(policies.map((each) => [each.Effect, each.Condition])).toEqual(Array(2).fill(['Deny', { Bool: { 'aws:SecureTransport': 'false' } }]));
  });

  test('come to the worker one by one, as many at once as is set, and their failures one by one back', () => {
    expect(only(made, 'AWS::Lambda::EventSourceMapping')).toMatchObject({
      BatchSize: 1,
      ScalingConfig: { MaximumConcurrency: 17 },
      FunctionResponseTypes: ['ReportBatchItemFailures'],
    });
    expect(only(made, 'AWS::Lambda::Function', 'Worker').Environment.Variables).toMatchObject({ ROLE: 'worker', JOBS_CONCURRENCY: '17' });
  });

  test('are sent by the function that answers, and worked off by the worker alone', () => {
    expect(allowed(made, 'Function', 'sqs')).toEqual(['sqs:SendMessage on <JobsQueue.Arn>']);
    expect(allowed(made, 'Worker', 'sqs')).toEqual(
      ['SendMessage', 'ChangeMessageVisibility', 'DeleteMessage', 'GetQueueAttributes', 'ReceiveMessage'].map(
        (action) => `sqs:${action} on <JobsQueue.Arn>`,
      ),
    );
  });
});

describe('functions in a VPC', () => {
  const inside = template({ ...VPC, JOBS: 'on' });

  test('are in its subnets and its security group, and the authorizer, which calls nobody, is not', () => {
    const bearer = template({ ...VPC, ...AUTHS['bearer'] });
    expect(only(bearer, 'AWS::Lambda::Function', 'Function').VpcConfig).toEqual({
      SecurityGroupIds: [VPC['VPC_SECURITY_GROUP']],
      SubnetIds: VPC['VPC_SUBNETS']?.split(','),
    });
    expect(only(bearer, 'AWS::Lambda::Function', 'Authorizer').VpcConfig).toBeUndefined();
  });

  test('reach Bedrock, DynamoDB and, with jobs, SQS through endpoints of their own', () => {
    const endpoints = (made: typeof inside) =>
      resources(made, 'AWS::EC2::VPCEndpoint').map(([, { Properties: each }]) => [each.ServiceName, each.VpcEndpointType]);
    const both = [
      ['com.amazonaws.us-east-1.dynamodb', 'Gateway'],
      ['com.amazonaws.us-east-1.bedrock-runtime', 'Interface'],
    ];
    expect(endpoints(template(VPC))).toEqual(both);
    expect(endpoints(inside)).toEqual([...both, ['com.amazonaws.us-east-1.sqs', 'Interface']]);
    expect(endpoints(template({ ...VPC, VPC_ENDPOINTS: 'existing' }))).toEqual([]);
    expect(only(inside, 'AWS::EC2::VPCEndpoint', 'NetworkDynamoDb').RouteTableIds).toEqual([VPC['VPC_ROUTE_TABLES']]);
    expect(only(inside, 'AWS::EC2::SecurityGroupIngress')).toMatchObject({
      FromPort: 443,
      ToPort: 443,
      SourceSecurityGroupId: VPC['VPC_SECURITY_GROUP'],
    });
  });

  test("are put there by Lambda, whose rights their own code is denied", () => {
    const rights = statements(inside).filter(([, each]) => each.Action.some((action) => action.startsWith('ec2:')));
    expect(rights.every(([, each]) => each.Action.join() === PLACEMENT_ACTIONS.join())).toBe(true);
    const denied = rights.filter(([, each]) => each.Effect === 'Deny');
    expect(denied.map(([, each]) => text(each.Condition?.['ArnEquals']?.['lambda:SourceFunctionArn']))).toEqual([
      expect.stringMatching(/^<Function[^>]*\.Arn>$/),
      expect.stringMatching(/^<Worker[^>]*\.Arn>$/),
    ]);
    expect(rights).toHaveLength(4);
  });
});

/** A name as CloudFormation will make it: with eight digits of the stack's id. */
function named(value: unknown): string {
  return text(value).replaceAll('<0 of <2 of <AWS::StackId> by /> by ->', '0a1b2c3d');
}

/** What a function may do to an index. */
function searches(index: string): string[] {
  return ['ESHttpGet on _mapping', 'ESHttpGet on _settings', 'ESHttpPost on _search'].map((each) => `es:${each.replace(' on ', ` on ${index}/`)}`);
}

describe('retrieval', () => {
  test('of an existing domain is allowed on the index of that domain, and only to search', () => {
    const made = template({ ...RETRIEVALS['domain'], OPENSEARCH_INDEX: 'manuals' });
    expect(allowed(made, 'Function', 'es')).toEqual(searches('arn:aws:es:us-east-1:<AWS::AccountId>:domain/docs/manuals'));
    const { Variables } = only(made, 'AWS::Lambda::Function').Environment;
    expect(Variables).toMatchObject({ ...RETRIEVALS['domain'], OPENSEARCH_INDEX: 'manuals' });
  });

  test('asks for no more of an index than is allowed', () => {
    const room = new URL('../../lambda/gateway/src/retrieval/opensearch/', import.meta.url);
    const asked = ['mod.rs', 'search.rs'].flatMap((file) => {
      const code = readFileSync(new URL(file, room), 'utf8').split('mod tests')[0] ?? '';
      return [...code.matchAll(/"\/\{\}(\/_[a-z]+)/g)].map(([, path]) => path);
    });
    expect([...new Set(asked)].sort()).toEqual(['/_mapping', '/_search', '/_settings']);
  });

  test('of an existing collection is allowed on that collection, and says what its own policy must allow', () => {
    const { template: made, warnings } = synth(RETRIEVALS['collection'] ?? {});
    expect(allowed(made, 'Function', 'aoss')).toEqual(['aoss:APIAccessAll on arn:aws:aoss:us-east-1:<AWS::AccountId>:collection/abc123']);
    expect(warnings.join()).toContain("data access policy must let the function's role");
  });

  test.each([
    ['https://search-docs-abcdefghijklmnopqrstuvwxyz.aos.us-east-1.on.aws', 'es', 'domain/docs/llm-gateway/_search'],
    ['https://abc123.aoss.us-east-1.on.aws', 'aoss', 'collection/abc123'],
  ])('of a name for IPv6 is allowed too: %s', (endpoint, service, resource) => {
    const made = template({ OPENSEARCH_DOMAIN_ENDPOINT: endpoint });
    expect(allowed(made, 'Function', service).join()).toContain(`on arn:aws:${service}:us-east-1:<AWS::AccountId>:${resource}`);
  });

  test.each([
    ['https://search-docs-abcdefghijklmnopqrstuvwxyz.eu-west-1.es.amazonaws.com', 'es:eu-west-1'],
    ['https://search-docs-abcdefghijklmnopqrstuvwxyz.aos.us-west-2.on.aws', 'es:us-west-2'],
    ['https://abc123.eu-central-1.aoss.amazonaws.com', 'aoss:eu-central-1'],
  ])('in another region is allowed there: %s', (endpoint, place) => {
    const resources = statements(template({ OPENSEARCH_DOMAIN_ENDPOINT: endpoint })).flatMap(([, { Resource }]) => Resource);
    expect(resources.filter((resource) => /^arn:aws:(es|aoss):/.test(resource) && !resource.startsWith(`arn:aws:${place}:`))).toEqual([]);
    expect(resources.join()).toContain(`arn:aws:${place}:`);
  });

  test("takes an endpoint's region as the gateway does", () => {
    const code = readFileSync(new URL('../../lambda/gateway/src/retrieval/opensearch/auth.rs', import.meta.url), 'utf8');
    const cases = [...code.matchAll(/\("(https?:[^"]+)", (?:Some\("([a-z0-9-]+)"\)|None)\)/g)];
    expect(cases.length).toBeGreaterThan(5);
    for (const [, endpoint = '', region] of cases) expect(regionOf(endpoint), endpoint).toBe(region);
  });

  test('of a domain under another name is allowed on the domain that is named beside it', () => {
    const arn = 'arn:aws:es:us-east-1:123456789012:domain/docs';
    const made = template({ OPENSEARCH_DOMAIN_ENDPOINT: 'https://search.example.com', OPENSEARCH_AUTH: 'iam', OPENSEARCH_ARN: arn });
    expect(allowed(made, 'Function', 'es')).toEqual(searches(`${arn}/llm-gateway`));
  });

  test('with a password has it from Secrets Manager, never in the template', () => {
    const secret = 'arn:aws:secretsmanager:us-east-1:123456789012:secret:search-AbCdEf';
    const made = template({
      OPENSEARCH_DOMAIN_ENDPOINT: 'https://search.example.com',
      OPENSEARCH_USERNAME: 'reader',
      OPENSEARCH_PASSWORD_SECRET: secret,
    });
    const { Variables } = only(made, 'AWS::Lambda::Function').Environment;
    expect(Variables).toMatchObject({ OPENSEARCH_USERNAME: 'reader', OPENSEARCH_PASSWORD: `{{resolve:secretsmanager:${secret}:SecretString:::}}` });
    expect(allowed(made, 'Function', 'es')).toEqual([]);
  });

  test('of a new domain is encrypted everywhere, and its cost is said', () => {
    const { template: made, warnings } = synth({ OPENSEARCH_CREATE: 'domain' });
    expect(only(made, 'AWS::OpenSearchService::Domain')).toMatchObject({
      DomainEndpointOptions: { EnforceHTTPS: true, TLSSecurityPolicy: 'Policy-Min-TLS-1-2-PFS-2023-10' },
      EncryptionAtRestOptions: { Enabled: true },
      NodeToNodeEncryptionOptions: { Enabled: true },
    });
    expect(warnings.join()).toContain('costs about $27.50 a month');
    expect(allowed(made, 'Function', 'es')).toEqual(searches('<RetrievalDomain.Arn>/llm-gateway'));
  });

  test('of a new domain is inside the VPC where there is one', () => {
    const domain = only(template({ ...VPC, OPENSEARCH_CREATE: 'domain' }), 'AWS::OpenSearchService::Domain');
    expect(domain.VPCOptions.SubnetIds).toEqual([VPC['VPC_SUBNETS']?.split(',')[0]]);
  });

  test('of a new collection is encrypted, and opens its index to the function to read and to writers to fill', () => {
    const made = template({ ...RETRIEVALS['new collection'], JOBS: 'on' });
    const opened = resources(made, 'AWS::OpenSearchServerless::AccessPolicy').map(([, { Properties }]) => JSON.parse(text(Properties.Policy))[0]);
    expect(opened.map((each) => [each.Principal[0].replace(/[0-9A-F]{8}(?=\.)/, ''), each.Rules[0].Permission.includes('aoss:WriteDocument')])).toEqual([
      ['arn:aws:iam::123456789012:role/Librarian', true],
      ['<FunctionRole.Arn>', false],
      ['<WorkerRole.Arn>', false],
    ]);
    const names = resources(made, 'AWS::OpenSearchServerless::AccessPolicy').map(([, { Properties }]) => named(Properties.Name));
    expect(new Set(names).size).toBe(3);
    for (const name of names) expect(name).toMatch(/^[a-z][a-z0-9-]{2,31}$/);
    const collection = named(only(made, 'AWS::OpenSearchServerless::Collection').Name);
    expect(collection).toMatch(/^[a-z][a-z0-9-]{2,22}-0a1b2c3d$/);
    const opens = resources(made, 'AWS::OpenSearchServerless::SecurityPolicy').map(([, { Properties }]) => named(Properties.Policy));
    for (const policy of opens) expect(policy).toContain(`"collection/${collection}"`);
    const policies = resources(made, 'AWS::OpenSearchServerless::SecurityPolicy').map(([, { Properties }]) => Properties.Type);
    expect(policies.sort()).toEqual(['encryption', 'network']);
  });
});
