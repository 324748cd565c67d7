/**
 * What the stack costs, in US dollars at the list prices of us-east-1 (November 2026), without free
 * tiers: a month when nobody calls, and 1,000 answers.
 */

import { CfnResource, type Stack } from 'aws-cdk-lib';
import type { Settings } from './settings.ts';

const HOURS = 730;

/** A property as the template has it. */
type Props = Readonly<Record<string, unknown>>;

/** What costs by the month, whether it is used or not. */
export const STANDING: Readonly<Record<string, (props: Props) => number>> = {
  'AWS::CloudWatch::Alarm': (props) => 0.1 * metrics(props),
  'AWS::CloudWatch::Dashboard': () => 3,
  'AWS::EC2::VPCEndpoint': (props) => (props['VpcEndpointType'] === 'Interface' ? 0.01 * HOURS * count(props['SubnetIds']) : 0),
  // Lambda's five pollers ask every 20 seconds, at $0.40 a million.
  'AWS::Lambda::EventSourceMapping': () => ((5 * HOURS * 3_600) / 20) * 0.4e-6,
  // One t3.small.search and 10 GB of gp3.
  'AWS::OpenSearchService::Domain': () => 0.036 * HOURS + 10 * 0.122,
  // Half a unit for indexing and half a unit for searching, at least.
  'AWS::OpenSearchServerless::Collection': () => 0.24 * HOURS,
  'AWS::WAFv2::WebACL': (props) => 5 + count(props['Rules']),
};

/** What costs nothing, or nothing by itself: calls, storage and messages are paid for as they come. */
export const NO_STANDING_CHARGE: ReadonlySet<string> = new Set([
  'AWS::ApiGateway::Account',
  'AWS::ApiGateway::ApiKey',
  'AWS::ApiGateway::Authorizer',
  'AWS::ApiGateway::Deployment',
  'AWS::ApiGateway::GatewayResponse',
  'AWS::ApiGateway::Method',
  'AWS::ApiGateway::Model',
  'AWS::ApiGateway::RequestValidator',
  'AWS::ApiGateway::Resource',
  'AWS::ApiGateway::RestApi',
  'AWS::ApiGateway::Stage',
  'AWS::ApiGateway::UsagePlan',
  'AWS::ApiGateway::UsagePlanKey',
  'AWS::ApiGatewayV2::Api',
  'AWS::ApiGatewayV2::ApiMapping',
  'AWS::ApiGatewayV2::Authorizer',
  'AWS::ApiGatewayV2::DomainName',
  'AWS::ApiGatewayV2::Integration',
  'AWS::ApiGatewayV2::Route',
  'AWS::ApiGatewayV2::Stage',
  'AWS::DynamoDB::GlobalTable',
  'AWS::EC2::SecurityGroup',
  'AWS::EC2::SecurityGroupIngress',
  'AWS::IAM::ManagedPolicy',
  'AWS::IAM::Policy',
  'AWS::IAM::Role',
  'AWS::Lambda::Function',
  'AWS::Lambda::Permission',
  'AWS::Lambda::Url',
  'AWS::Logs::LogGroup',
  'AWS::OpenSearchServerless::AccessPolicy',
  'AWS::OpenSearchServerless::SecurityPolicy',
  'AWS::Route53::RecordSet',
  'AWS::SNS::Subscription',
  'AWS::SNS::Topic',
  'AWS::SNS::TopicPolicy',
  'AWS::SQS::Queue',
  'AWS::SQS::QueuePolicy',
  'AWS::WAFv2::WebACLAssociation',
]);

/** What the resources of a stack cost a month when nobody calls. */
export function idleCost(stack: Stack): number {
  const resources = stack.node.findAll().filter((node) => CfnResource.isCfnResource(node));
  const costs = resources.map((resource) => {
    const template = stack.resolve(resource._toCloudFormation()) as { Resources?: Record<string, { Properties?: Props }> };
    const [made] = Object.values(template.Resources ?? {});
    return STANDING[resource.cfnResourceType]?.(made?.Properties ?? {}) ?? 0;
  });
  return costs.reduce((sum, cost) => sum + cost, 0);
}

function count(list: unknown): number {
  return Array.isArray(list) ? list.length : 1;
}

/** An alarm costs by the metrics that it looks at. */
function metrics(props: Props): number {
  const list = props['Metrics'];
  return Array.isArray(list) ? list.filter((each: { MetricStat?: unknown }) => each.MetricStat !== undefined).length : 1;
}

/** The answer that figures are given for: 1,000 tokens of prompt, 200 of answer, in two seconds. */
const ANSWER = { input: 1_000, output: 200, seconds: 2 };

/** 1,000 such answers without the model: API Gateway, Lambda, DynamoDB, pushes. */
export function costPer1000(settings: Settings): number {
  const lambda = lambdaPer1000(settings, ANSWER.seconds, settings.functions.memoryMb);
  const authorizer = settings.auth.bearer ? authorizerPer1000(settings) : 0;
  if (settings.type === 'rest') return lambda + authorizer + 1_000 * 3.5e-6 + 0.013;
  // A message asks, frames answer, and the connection counts by the minute; each begins one of its own.
  const frames = 2 + (ANSWER.seconds * 1_000) / Math.max(settings.pushIntervalMs, 20);
  return lambda + authorizer + 1_000 * ((frames + 1) * 1e-6 + 0.25e-6 + 2 * 0.2e-6) + 0.017;
}

/** What the authorizer adds to 1,000 calls of a REST API, or connections of a WebSocket API. */
export function authorizerPer1000(settings: Settings): number {
  return lambdaPer1000(settings, 0.05, 128);
}

function lambdaPer1000(settings: Settings, seconds: number, megabytes: number): number {
  const gbSecond = settings.functions.architecture === 'arm64' ? 0.0000133334 : 0.0000166667;
  return 1_000 * (seconds * (megabytes / 1_024) * gbSecond + 0.2e-6);
}

/** What the default model takes for 1,000 such answers. */
export function modelCostPer1000({ defaultModel: { price } }: Settings): number {
  return (ANSWER.input * price.input + ANSWER.output * price.output) / 1_000;
}
