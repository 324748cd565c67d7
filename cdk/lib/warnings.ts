/** What the user should read before a stack is deployed. */

import { authorizerPer1000 } from './costs.ts';
import { authMode, type Settings } from './settings.ts';

/** Warnings by their ids; `idle` is what the stack costs a month when nobody calls, in US dollars. */
export function warnings(settings: Settings, idle: number): Record<string, string> {
  const { auth, type, vpc } = settings;
  const said: Record<string, string> = {};
  if (authMode(auth) === 'none') {
    said['open'] =
      'ANYONE WHO KNOWS THE URL MAY CALL THIS API AND SPEND YOUR MONEY: NO API KEY AND NO IAM. SET ' +
      'API_GATEWAY_USE_API_KEY OR API_GATEWAY_USE_IAM_AUTH TO true.';
  }
  if (auth.bearer) {
    const each = type === 'rest' ? 'call' : 'connection';
    said['bearer'] = `With BEARER_KEYS=true the authorizer runs at each ${each}: $${authorizerPer1000(settings).toFixed(4)} for 1,000.`;
  }
  if (vpc && type === 'websocket') {
    said['nat'] =
      'A WebSocket API in a VPC pushes through a NAT gateway: VPC_SUBNETS must route to one (about $33 a month).';
  }
  if (idle > 0) said['idle-cost'] = `This stack costs about $${idle.toFixed(2)} a month even when nobody calls it.`;
  return { ...said, ...search(settings) };
}

/** What OpenSearch needs that no stack can give. */
function search({ vpc, retrieval, jobs }: Settings): Record<string, string> {
  if (!retrieval) return {};
  const { create, endpoint, auth, service } = retrieval;
  const said: Record<string, string> = {};
  if (vpc && create === 'domain') {
    said['opensearch-role'] =
      'The first OpenSearch domain in a VPC needs a role that an account has once: ' +
      'aws iam create-service-linked-role --aws-service-name opensearchservice.amazonaws.com';
  }
  if (vpc && create !== 'domain' && !endpoint?.startsWith('https://vpc-')) {
    said['opensearch-nat'] =
      'OpenSearch is outside the VPC: VPC_SUBNETS must route to a NAT gateway, or answers come without passages.';
  }
  if (endpoint && auth === 'iam') {
    const roles =
      jobs === undefined
        ? "the function's role (output FunctionRoleArn)"
        : "the functions' roles (outputs FunctionRoleArn and WorkerRoleArn)";
    said['opensearch-access'] =
      service === 'aoss'
        ? `The collection's data access policy must let ${roles} read the index.`
        : `Where the domain has fine-grained access control, map ${roles} to a role that reads the index.`;
  }
  return said;
}
