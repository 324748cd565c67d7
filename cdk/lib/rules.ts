/** What settings ask of each other: one sentence for each thing that cannot be. */

import type { Catalog } from './catalog.ts';
import type { Values, Vars } from './contract.ts';
import { collectionId, domainName, retrieval as search } from './retrieval-settings.ts';

/** The sentences about settings that do not go together. */
export function conflicts(values: Values, catalog: Catalog, vars: Vars): string[] {
  return [
    ...images(values),
    ...authentication(values),
    ...restOnly(values),
    ...models(values, catalog),
    ...network(values),
    ...names(values),
    ...retrieval(values, vars),
    ...embedder(values, catalog),
    ...size(values),
  ];
}

/** Lambda takes 4 KB of variables; what the stack adds itself takes the rest. */
const ROOM = 3_000;

function size(values: Values): string[] {
  const bytes = Object.entries(values.forGateway()).reduce((sum, [name, value]) => sum + Buffer.byteLength(name + value), 0);
  if (bytes <= ROOM) return [];
  return [
    `The settings for the functions have ${bytes} bytes together; there is room for ${ROOM}. Shorten ALLOWED_MODELS, ` +
      'ALLOWED_ORIGINS or RETRIEVAL_FILTER.',
  ];
}

function images(values: Values): string[] {
  const websocket = values.text('API_GATEWAY_TYPE') === 'websocket';
  const push = `scripts/push-image ${websocket ? 'ws' : 'rest'}`;
  const wrong = [];
  if (!values.text('IMAGE_DIGEST')) {
    wrong.push(`IMAGE_DIGEST is missing: no image to deploy. Run ${push}, and export .env again.`);
  } else if (!values.text('ARCHITECTURE')) {
    wrong.push(`ARCHITECTURE is missing: is the image for "x86_64" or "arm64"? ${push} writes it into .env.`);
  }
  if (websocket && values.flag('BEARER_KEYS') && !values.text('AUTHORIZER_IMAGE_DIGEST')) {
    wrong.push(
      'AUTHORIZER_IMAGE_DIGEST is missing: with BEARER_KEYS=true the rest image reads the keys of a WebSocket API. ' +
        'Run scripts/push-image rest, set AUTHORIZER_IMAGE_DIGEST to the digest it prints, then run scripts/push-image ws.',
    );
  }
  return wrong;
}

function authentication(values: Values): string[] {
  if (!values.flag('BEARER_KEYS')) return [];
  const wrong = [];
  if (values.flag('API_GATEWAY_USE_IAM_AUTH')) {
    wrong.push(
      'BEARER_KEYS=true and API_GATEWAY_USE_IAM_AUTH=true exclude each other: a method of API Gateway has one kind of ' +
        'authorization. Set one of them to false.',
    );
  }
  if (!values.flag('API_GATEWAY_USE_API_KEY')) {
    wrong.push(
      'BEARER_KEYS=true is another way to send API keys, and API_GATEWAY_USE_API_KEY=false asks for none. ' +
        'Set API_GATEWAY_USE_API_KEY to true, or BEARER_KEYS to false.',
    );
  }
  return wrong;
}

function restOnly(values: Values): string[] {
  const wrong = [];
  if (values.text('API_GATEWAY_TYPE') === 'websocket') {
    for (const [name, why] of [
      ['FUNCTION_URL', 'a function URL speaks HTTP'],
      ['JOBS', 'jobs are sent over HTTP'],
      ['WAF', 'AWS WAF does not protect WebSocket APIs'],
    ] as const) {
      if (values.flag(name)) wrong.push(`${name}=on needs API_GATEWAY_TYPE=rest: ${why}. Set ${name} to off.`);
    }
  }
  if (values.flag('FUNCTION_URL') && values.text('VPC')) {
    wrong.push('FUNCTION_URL=on does not go with VPC: a function URL streams only outside a VPC. Unset one of them.');
  }
  if (values.flag('JOBS') && (values.number('JOBS_CONCURRENCY') ?? 0) < 2) {
    wrong.push('JOBS_CONCURRENCY must be 2 at least in the stack: SQS event sources know no less.');
  }
  return wrong;
}

function models(values: Values, catalog: Catalog): string[] {
  const region = values.text('REGION_ID');
  const allowed = values.list('ALLOWED_MODELS');
  const unknown = allowed.filter((name) => catalog.ways(name).length === 0);
  const wrong = unknown.map(
    (name) =>
      `ALLOWED_MODELS: there is no model "${name}" in ${region}. There are ${catalog.ids().join(', ')}.`,
  );
  const name = values.text('DEFAULT_MODEL') ?? catalog.default;
  const way = catalog.choose(name);
  if (!way) {
    wrong.push(`DEFAULT_MODEL: there is no model "${name}" in ${region}. Set it to one of ${catalog.ids().join(', ')}.`);
  } else if (way.embeds) {
    wrong.push(`DEFAULT_MODEL: ${name} embeds texts and answers none. Set it to a model that answers.`);
  } else {
    const invoked = way.profile ? `${way.profile}.${way.model}` : way.model;
    const listed = [name, way.model, invoked].some((id) => allowed.includes(id));
    if (allowed.length > 0 && unknown.length === 0 && !listed) {
      wrong.push(`DEFAULT_MODEL: ${name} is not among ALLOWED_MODELS. Set DEFAULT_MODEL to one of them.`);
    }
  }
  return wrong;
}

function network(values: Values): string[] {
  const together = ['VPC', 'VPC_SUBNETS', 'VPC_SECURITY_GROUP'];
  const missing = together.filter((name) => !values.text(name));
  const wrong = [];
  if (missing.length > 0 && missing.length < together.length) {
    wrong.push(`VPC, VPC_SUBNETS and VPC_SECURITY_GROUP go together: set ${missing.join(' and ')} too, or none of them.`);
  }
  const create = values.text('VPC') !== undefined && values.text('VPC_ENDPOINTS') === 'create';
  if (create && values.list('VPC_ROUTE_TABLES').length === 0) {
    wrong.push(
      "VPC_ROUTE_TABLES is missing: DynamoDB's endpoint is a route. Set it to the route tables of VPC_SUBNETS, or " +
        'VPC_ENDPOINTS to existing where the VPC has its endpoints or a NAT gateway already.',
    );
  }
  return wrong;
}

function names(values: Values): string[] {
  const wrong = [];
  const domain = values.text('DOMAIN_NAME');
  const certificate = values.text('CERTIFICATE_ARN');
  if (domain && !certificate) {
    wrong.push('DOMAIN_NAME needs CERTIFICATE_ARN: a certificate of ACM for that name, in REGION_ID.');
  }
  if (!domain && (certificate || values.text('HOSTED_ZONE_ID'))) {
    wrong.push('CERTIFICATE_ARN and HOSTED_ZONE_ID belong to DOMAIN_NAME, which is missing. Set it, or unset them.');
  }
  const region = values.text('REGION_ID');
  if (certificate && certificate.split(':')[3] !== region) {
    wrong.push(`CERTIFICATE_ARN must be of ${region}: a Regional API takes a certificate of its own region.`);
  }
  if (values.text('ALARM_EMAIL') && !values.flag('MONITORING')) {
    wrong.push('ALARM_EMAIL needs MONITORING=on: without it there are no alarms.');
  }
  return wrong;
}

function retrieval(values: Values, vars: Vars): string[] {
  const wrong = [];
  const endpoint = values.text('OPENSEARCH_DOMAIN_ENDPOINT');
  const create = values.text('OPENSEARCH_CREATE');
  if (vars['OPENSEARCH_PASSWORD']?.trim()) {
    wrong.push(
      'OPENSEARCH_PASSWORD would stand in the CloudFormation template. Put it into Secrets Manager, set ' +
        'OPENSEARCH_PASSWORD_SECRET to the ARN of the secret, and unset OPENSEARCH_PASSWORD.',
    );
  }
  if (endpoint && create) {
    wrong.push('OPENSEARCH_DOMAIN_ENDPOINT and OPENSEARCH_CREATE exclude each other: use one, or have one made.');
  }
  if (endpoint && !endpoint.startsWith('https://')) {
    wrong.push('OPENSEARCH_DOMAIN_ENDPOINT must begin with https:// in the stack: passages are not sent in the clear.');
  }
  wrong.push(...address(endpoint), ...unnamed(values));
  const basic = values.text('OPENSEARCH_AUTH') === 'basic' || values.text('OPENSEARCH_USERNAME') !== undefined;
  if (create && (basic || values.text('OPENSEARCH_AUTH') === 'none')) {
    wrong.push('OPENSEARCH_CREATE makes an OpenSearch that IAM guards. Unset OPENSEARCH_AUTH and OPENSEARCH_USERNAME.');
  } else if (endpoint && basic && !(values.text('OPENSEARCH_USERNAME') && values.text('OPENSEARCH_PASSWORD_SECRET'))) {
    wrong.push('OPENSEARCH_AUTH=basic needs OPENSEARCH_USERNAME and OPENSEARCH_PASSWORD_SECRET.');
  } else if (endpoint && values.text('OPENSEARCH_USERNAME')?.includes(':')) {
    wrong.push('OPENSEARCH_USERNAME must not hold a colon: basic authentication ends it there.');
  }
  if (create !== 'serverless' && values.list('OPENSEARCH_WRITERS').length > 0) {
    wrong.push('OPENSEARCH_WRITERS is for OPENSEARCH_CREATE=serverless. Elsewhere attach the policy that the stack makes, or your own.');
  }
  if (create === 'serverless' && values.list('OPENSEARCH_WRITERS').length === 0) {
    wrong.push(
      'OPENSEARCH_CREATE=serverless needs OPENSEARCH_WRITERS: the ARNs of the roles or users that fill the index, ' +
        'because a collection lets in nobody whom its own policy does not name.',
    );
  }
  return wrong;
}

/** What a function would refuse at its start. The address is not repeated: a password may stand in it. */
function address(endpoint: string | undefined): string[] {
  if (!endpoint) return [];
  const { pathname, search: query, username, password } = new URL(endpoint);
  if (/^\/*$/.test(pathname) && query + username + password === '') return [];
  return [
    'OPENSEARCH_DOMAIN_ENDPOINT must be an address without a path, such as https://search-docs.us-east-1.es.amazonaws.com; ' +
      'a user has a setting of its own, OPENSEARCH_USERNAME.',
  ];
}

/** The functions open the model of the search at their start, whatever the mode. */
function embedder(values: Values, catalog: Catalog): string[] {
  const name = values.text('EMBEDDINGS_MODEL');
  if (!search(values) || !name || catalog.choose(name)?.embeds) return [];
  const known = catalog.ids().filter((id) => catalog.choose(id)?.embeds);
  return [`EMBEDDINGS_MODEL must be one of ${known.join(', ')}, not "${name}".`];
}

/** A permission needs the name of what it is for. */
function unnamed(values: Values): string[] {
  const { endpoint, create, auth, service, arn } = search(values) ?? {};
  if (!endpoint || create || auth !== 'iam' || arn) return [];
  const name = service === 'aoss' ? collectionId(endpoint) : domainName(endpoint);
  if (name !== undefined) return [];
  return [
    `OPENSEARCH_ARN is missing: what is behind ${new URL(endpoint).hostname} cannot be told from its name. Set it to the ARN of the domain ` +
      'or collection.',
  ];
}
