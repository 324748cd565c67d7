import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { RULES } from '../lib/contract.ts';
import { readSettings } from '../lib/settings.ts';
import { AUTHS, BASE, RETRIEVALS, sentences, VPC, WEBSOCKET } from './support.ts';

const TEMPLATE = new URL('../../template.env', import.meta.url);

describe('the template', () => {
  test('has every setting of the contract with its default, in its order, and nothing else', () => {
    const stated = RULES.filter((rule) => rule.template !== false).map((rule) => `${rule.name}=${rule.default}`);
    expect(readFileSync(TEMPLATE, 'utf8').trimEnd().split('\n')).toEqual(stated);
  });

  test.each(['sh', 'bash'])('is exported by one line of %s, and means what an empty environment means', (shell) => {
    const print = `export $(cat "$1" | xargs) && exec "$2" -e 'console.log(JSON.stringify(process.env))'`;
    const env = JSON.parse(
      execFileSync(shell, ['-c', print, shell, TEMPLATE.pathname, process.execPath], { encoding: 'utf8' }),
    );
    const { functions, ...rest } = readSettings({ ...env, ...BASE });
    const { functions: others, ...same } = readSettings(BASE);
    expect(rest).toEqual(same);
    expect({ ...functions, environment: {} }).toEqual({ ...others, environment: {} });
  });
});

describe('a value that does not fit its setting', () => {
  const wrong = RULES.filter((rule) => rule.readers.includes('stack')).flatMap((rule) => {
    const bad = {
      choice: ['perhaps'],
      number: ['many', '-1', String((rule.max ?? 0) + 1), ...(rule.fraction ? [] : ['1.5'])],
      url: ['search'],
      list: rule.pattern ? ['?'] : [],
      text: rule.pattern ? ['_ ?'] : [],
    }[rule.kind];
    return bad.map((value) => [rule.name, value] as const);
  });

  test.each(wrong)('%s=%s is answered by one sentence that names both', (name, value) => {
    const said = sentences({ [name]: value });
    expect(said.filter((sentence) => sentence.startsWith(`${name} must be `) && sentence.endsWith(`, not "${value}".`))).toHaveLength(1);
  });

  test('every number fits at both ends of its range', () => {
    for (const { name, min, max } of RULES.filter((rule) => rule.kind === 'number' && rule.readers.includes('stack'))) {
      expect(sentences({ [name]: String(min) }), name).toEqual([]);
      expect(sentences({ [name]: String(max) }), name).toEqual([]);
    }
  });

  test('all wrong values are told at once', () => {
    const said = sentences({ IMAGE_DIGEST: '', API_GATEWAY_TYPE: 'http', DEFAULT_TEMP: '4096', VPC: 'vpc-01234567', WAF: 'yes' });
    const names = said.map((sentence) => sentence.split(/[ ,]/)[0]);
    expect(names).toEqual(['API_GATEWAY_TYPE', 'WAF', 'DEFAULT_TEMP', 'IMAGE_DIGEST', 'VPC', 'VPC_ROUTE_TABLES']);
  });
});

describe('settings that do not go together', () => {
  const ENDPOINT = { OPENSEARCH_DOMAIN_ENDPOINT: 'https://search.example.com' };
  const CREATE = { OPENSEARCH_CREATE: 'domain' };
  const CERTIFICATE = 'arn:aws:acm:us-east-1:123456789012:certificate/0a1b';
  const SECRET = 'arn:aws:secretsmanager:us-east-1:123456789012:secret:search-AbCdEf';
  test.each([
    [{ IMAGE_DIGEST: '' }, 'IMAGE_DIGEST is missing: no image to deploy. Run scripts/push-image rest'],
    [{ ...WEBSOCKET, IMAGE_DIGEST: '' }, 'Run scripts/push-image ws'],
    [{ ARCHITECTURE: '' }, 'ARCHITECTURE is missing'],
    [{ ...WEBSOCKET, BEARER_KEYS: 'true' }, 'AUTHORIZER_IMAGE_DIGEST is missing'],
    [{ BEARER_KEYS: 'true', API_GATEWAY_USE_IAM_AUTH: 'true' }, 'exclude each other'],
    [{ BEARER_KEYS: 'true', API_GATEWAY_USE_API_KEY: 'false' }, 'asks for none'],
    [{ ...WEBSOCKET, FUNCTION_URL: 'on' }, 'FUNCTION_URL=on needs API_GATEWAY_TYPE=rest'],
    [{ ...WEBSOCKET, JOBS: 'on' }, 'JOBS=on needs API_GATEWAY_TYPE=rest'],
    [{ ...WEBSOCKET, WAF: 'on' }, 'WAF=on needs API_GATEWAY_TYPE=rest'],
    [{ ...VPC, FUNCTION_URL: 'on' }, 'streams only outside a VPC'],
    [{ JOBS: 'on', JOBS_CONCURRENCY: '1' }, 'JOBS_CONCURRENCY must be 2 at least'],
    [{ ALLOWED_MODELS: 'claude' }, 'there is no model "claude" in us-east-1'],
    [{ ALLOWED_MODELS: 'eu.anthropic.claude-sonnet-4-6' }, 'there is no model "eu.anthropic'],
    [{ DEFAULT_MODEL: 'claude' }, 'DEFAULT_MODEL: there is no model "claude"'],
    [{ DEFAULT_MODEL: 'amazon.titan-embed-text-v2:0' }, 'embeds texts'],
    [{ REGION_ID: 'us-gov-west-1' }, 'DEFAULT_MODEL: there is no model'],
    [{ ALLOWED_MODELS: 'amazon.nova-lite-v1:0' }, 'is not among ALLOWED_MODELS'],
    [{ ALLOWED_ORIGINS: Array(200).fill('https://a.example.com').join(',') }, 'there is room for 3000'],
    [{ VPC_SUBNETS: 'subnet-01234567' }, 'set VPC and VPC_SECURITY_GROUP too'],
    [{ ...VPC, VPC_ROUTE_TABLES: '' }, 'VPC_ROUTE_TABLES is missing'],
    [{ DOMAIN_NAME: 'llm.example.com' }, 'DOMAIN_NAME needs CERTIFICATE_ARN'],
    [{ CERTIFICATE_ARN: CERTIFICATE }, 'belong to DOMAIN_NAME'],
    [{ DOMAIN_NAME: 'a.example.com', CERTIFICATE_ARN: CERTIFICATE, REGION_ID: 'eu-west-1' }, 'must be of eu-west-1'],
    [{ ALARM_EMAIL: 'ops@example.com' }, 'ALARM_EMAIL needs MONITORING=on'],
    [{ ...ENDPOINT, ...CREATE }, 'exclude each other'],
    [{ OPENSEARCH_DOMAIN_ENDPOINT: 'http://search.example.com' }, 'must begin with https://'],
    [{ ...ENDPOINT, OPENSEARCH_AUTH: 'iam' }, 'OPENSEARCH_ARN is missing'],
    [{ OPENSEARCH_DOMAIN_ENDPOINT: 'https://search-docs.us-east-1.es.amazonaws.com' }, 'OPENSEARCH_ARN is missing'],
    [{ ...ENDPOINT, OPENSEARCH_PASSWORD: 'hush' }, 'OPENSEARCH_PASSWORD would stand in the CloudFormation template'],
    [{ ...ENDPOINT, OPENSEARCH_AUTH: 'basic' }, 'needs OPENSEARCH_USERNAME and OPENSEARCH_PASSWORD_SECRET'],
    [{ ...ENDPOINT, OPENSEARCH_USERNAME: 'reader' }, 'needs OPENSEARCH_USERNAME and OPENSEARCH_PASSWORD_SECRET'],
    [{ ...ENDPOINT, OPENSEARCH_USERNAME: 'a:reader', OPENSEARCH_PASSWORD_SECRET: SECRET }, 'must not hold a colon'],
    [{ OPENSEARCH_DOMAIN_ENDPOINT: 'https://search.example.com/docs' }, 'without a path'],
    [{ OPENSEARCH_DOMAIN_ENDPOINT: 'https://search.example.com/?a=b' }, 'without a path'],
    [{ OPENSEARCH_DOMAIN_ENDPOINT: 'https://reader:hush@search.example.com' }, 'OPENSEARCH_USERNAME'],
    [{ ...CREATE, EMBEDDINGS_MODEL: 'amazon.titan-embed-text-v3' }, 'EMBEDDINGS_MODEL must be one of amazon.titan-embed-text-v2:0'],
    [{ ...CREATE, EMBEDDINGS_MODEL: 'amazon.nova-lite-v1:0' }, 'EMBEDDINGS_MODEL must be one of'],
    [{ ...CREATE, EMBEDDINGS_MODEL: 'local.hashed-embedding-256' }, 'EMBEDDINGS_MODEL must be one of'],
    [{ ...CREATE, EMBEDDINGS_MODEL: 'eu.cohere.embed-v4:0' }, 'not "eu.cohere.embed-v4:0"'],
    [{ ...CREATE, OPENSEARCH_USERNAME: 'reader', OPENSEARCH_PASSWORD_SECRET: SECRET }, 'that IAM guards'],
    [{ OPENSEARCH_CREATE: 'serverless' }, 'needs OPENSEARCH_WRITERS'],
    [{ ...CREATE, OPENSEARCH_WRITERS: 'arn:aws:iam::123456789012:role/A' }, 'OPENSEARCH_WRITERS is for'],
  ])('%j is answered by one sentence that says what to do', (vars, part) => {
    const said = sentences(vars);
    expect(said).toHaveLength(1);
    expect(said[0]).toContain(part);
  });

  test.each(['Docs', 'docs*', 'a/b', 'a,b', '_docs', 'a b', 'É'])('an index %s is refused, as the functions would', (index) => {
    expect(sentences({ OPENSEARCH_INDEX: index }).join()).toContain('OPENSEARCH_INDEX must be the name of one index or alias');
  });

  test.each(['_id', 'two words', 'a.', 'meta*'])('%s is no name of a field', (field) => {
    expect(sentences({ OPENSEARCH_TEXT_FIELD: field }).join()).toContain('OPENSEARCH_TEXT_FIELD must be the name of a field');
  });

  test('an address may end in a slash, an index be an alias in any script, and the model of a search have a profile', () => {
    const model = { EMBEDDINGS_MODEL: 'us.cohere.embed-v4:0' };
    expect(sentences({ ...model, OPENSEARCH_DOMAIN_ENDPOINT: 'https://search.example.com/', OPENSEARCH_INDEX: 'büro-2.1_a' })).toEqual([]);
    expect(sentences({ EMBEDDINGS_MODEL: 'local.hashed-embedding-256' })).toEqual([]);
  });

  test('a password is not repeated', () => {
    expect(sentences({ OPENSEARCH_DOMAIN_ENDPOINT: 'https://reader:hush-hush@search.example.com' }).join()).not.toContain('hush-hush');
    expect(sentences({ OPENSEARCH_PASSWORD: 'hush-hush' }).join()).not.toContain('hush-hush');
  });
});

describe('what a setting leads to', () => {
  test("the older system's settings mean what they meant", () => {
    const seed = {
      API_GATEWAY_TYPE: 'rest',
      API_GATEWAY_USE_API_KEY: 'true',
      API_GATEWAY_USE_IAM_AUTH: 'true',
      DEFAULT_MAX_TOKENS: '4096',
      ECR_REST_REPOSITORY: 'llm-gateway-rest',
      ECR_WEBSOCKET_REPOSITORY: 'llm-gateway-ws',
      REGION_ID: 'us-east-1',
    };
    const settings = readSettings({ ...BASE, ...seed });
    expect(settings.auth).toEqual({ apiKey: true, iam: true, bearer: false });
    expect(settings.functions.image.repository).toBe('llm-gateway-rest');
    expect(settings.functions.environment).toEqual({ DEFAULT_MAX_TOKENS: '4096', REGION_ID: 'us-east-1' });
    expect(sentences({ DEFAULT_TEMP: '4096' })[0]).toBe('DEFAULT_TEMP must be a number from 0 to 1, not "4096".');
  });

  test('each type has its own repository, and the authorizer is always the rest image', () => {
    const settings = readSettings({ ...BASE, ...WEBSOCKET, ...AUTHS['bearer'], ECR_WEBSOCKET_REPOSITORY: 'ours/ws' });
    expect(settings.functions.image).toEqual({ repository: 'ours/ws', digest: BASE['IMAGE_DIGEST'] });
    expect(settings.authorizerImage).toEqual({ repository: 'llm-gateway-rest', digest: AUTHS['bearer']?.['AUTHORIZER_IMAGE_DIGEST'] });
  });

  test('choices are read whatever their case, and blanks around a value do not count', () => {
    expect(readSettings({ ...BASE, API_GATEWAY_TYPE: ' WebSocket ' }).type).toBe('websocket');
  });

  test.each([
    [RETRIEVALS['domain'], 'es', 'iam'],
    [{ OPENSEARCH_DOMAIN_ENDPOINT: 'https://abc.us-east-1.aoss.amazonaws.com' }, 'aoss', 'iam'],
    [{ OPENSEARCH_DOMAIN_ENDPOINT: 'https://search.example.com' }, 'es', 'none'],
    [{ OPENSEARCH_CREATE: 'domain' }, 'es', 'iam'],
  ])('%j is searched as service %s with authentication %s', (vars, service, auth) => {
    expect(readSettings({ ...BASE, ...vars }).retrieval).toMatchObject({ service, auth });
  });
});

describe('an endpoint of OpenSearch', () => {
  const { endpoints } = JSON.parse(readFileSync(new URL('../../contract/endpoints.json', import.meta.url), 'utf8')) as {
    endpoints: { endpoint: string; signed_for: string | null }[];
  };

  test.each(endpoints)('$endpoint is signed for $signed_for, as the gateway has it', ({ endpoint, signed_for }) => {
    const found = readSettings({ ...BASE, OPENSEARCH_DOMAIN_ENDPOINT: endpoint }).retrieval;
    expect(found?.auth === 'iam' ? found.service : null).toBe(signed_for);
  });
});

describe('the documents', () => {
  test('say that a host name does not go from one type of API to the other', () => {
    const row = read('docs/settings.md').split('\n').find((line) => line.startsWith('| `DOMAIN_NAME`'));
    expect(row).toContain('to change `API_GATEWAY_TYPE`, deploy once without the name');
  });

  const read = (path: string) => readFileSync(new URL(`../../${path}`, import.meta.url), 'utf8');

  test('have every setting of the stack, with its default', () => {
    const page = read('docs/settings.md');
    for (const rule of RULES.filter((rule) => !rule.readers.includes('gateway'))) {
      expect(page).toContain(`| \`${rule.name}\` | ${rule.default ? `\`${rule.default}\`` : 'none'} |`);
    }
  });
});
