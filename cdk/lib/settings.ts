/** What is to be deployed: the settings in types, checked against each other. */

import { Catalog, type Way } from './catalog.ts';
import { Values, type Vars } from './contract.ts';
import { type RetrievalSettings, retrieval } from './retrieval-settings.ts';
import { conflicts } from './rules.ts';

/** How callers show who they are. */
export interface Auth {
  readonly apiKey: boolean;
  readonly iam: boolean;
  /** Keys come as `Authorization: Bearer` too. */
  readonly bearer: boolean;
}

/** How callers show who they are, in a word. */
export function authMode({ apiKey, iam, bearer }: Auth): string {
  if (bearer) return 'bearer';
  return [...(apiKey ? ['api-key'] : []), ...(iam ? ['iam'] : [])].join('+') || 'none';
}

/** An image in ECR, by digest. */
export interface Image {
  readonly repository: string;
  readonly digest: string;
}

/** What every function has. */
export interface FunctionSettings {
  readonly image: Image;
  readonly architecture: 'x86_64' | 'arm64';
  readonly memoryMb: number;
  /** Days. */
  readonly logRetention: number;
  /** The gateway's own settings, as the user gave them. */
  readonly environment: Readonly<Record<string, string>>;
}

/** What bounds the calls. */
export interface Limits {
  /** Requests a second. */
  readonly rate: number;
  readonly burst: number;
  /** Requests a key has a month; none: no end. */
  readonly monthly?: number;
}

/** An existing VPC for the functions. */
export interface VpcSettings {
  readonly id: string;
  readonly subnets: readonly string[];
  readonly securityGroup: string;
  /** Whether the stack makes the endpoints that the functions need. */
  readonly endpoints: boolean;
  readonly routeTables: readonly string[];
}

/** A host name of the user's own. */
export interface DomainSettings {
  readonly name: string;
  readonly certificateArn: string;
  /** Where the name is to be entered; none: the user does that. */
  readonly hostedZoneId?: string;
}

/** Everything. */
export interface Settings {
  readonly stackName: string;
  readonly region: string;
  readonly type: 'rest' | 'websocket';
  readonly auth: Auth;
  readonly functions: FunctionSettings;
  /** The `rest` image, which is the authorizer of a WebSocket API too. */
  readonly authorizerImage?: Image;
  readonly functionUrl: boolean;
  /** Jobs at once; none: no jobs. */
  readonly jobs?: number;
  readonly limits: Limits;
  readonly origins: readonly string[];
  readonly models: readonly Way[];
  /** What embeds the questions of a search. */
  readonly embedder?: Way;
  /** What answers where a request names no model. */
  readonly defaultModel: Way;
  readonly pushIntervalMs: number;
  readonly retainTables: boolean;
  readonly monitoring: boolean;
  readonly alarmEmail?: string;
  readonly waf: boolean;
  readonly domain?: DomainSettings;
  readonly vpc?: VpcSettings;
  readonly retrieval?: RetrievalSettings;
}

/** The settings cannot be used; `sentences` say why, one for each. */
export class WrongSettings extends Error {
  constructor(readonly sentences: readonly string[]) {
    super(sentences.join('\n'));
  }
}

/**
 * Reads the settings from the variables of an environment.
 *
 * @throws WrongSettings with every sentence at once
 */
export function readSettings(vars: Vars): Settings {
  const values = new Values(vars);
  const region = values.text('REGION_ID') ?? '';
  const catalog = new Catalog(region);
  const wrong = [...values.wrong, ...conflicts(values, catalog, vars)];
  if (wrong.length > 0) throw new WrongSettings(wrong);
  const type = values.text('API_GATEWAY_TYPE') === 'websocket' ? 'websocket' : 'rest';
  return {
    stackName: need(values.text('STACK_NAME')),
    region,
    type,
    auth: {
      apiKey: values.flag('API_GATEWAY_USE_API_KEY'),
      iam: values.flag('API_GATEWAY_USE_IAM_AUTH'),
      bearer: values.flag('BEARER_KEYS'),
    },
    functions: functions(values, type),
    authorizerImage: authorizerImage(values, type),
    functionUrl: values.flag('FUNCTION_URL'),
    jobs: values.flag('JOBS') ? need(values.number('JOBS_CONCURRENCY')) : undefined,
    limits: {
      rate: need(values.number('THROTTLE_RATE')),
      burst: need(values.number('THROTTLE_BURST')),
      monthly: values.number('QUOTA_PER_MONTH'),
    },
    origins: values.list('ALLOWED_ORIGINS'),
    models: models(values, catalog),
    embedder: embedder(values, catalog),
    defaultModel: need(catalog.choose(values.text('DEFAULT_MODEL') ?? catalog.default)),
    // What the gateway does on Lambda where nothing is said.
    pushIntervalMs: values.number('PUSH_INTERVAL_MS') ?? 100,
    retainTables: values.flag('RETAIN_TABLES'),
    monitoring: values.flag('MONITORING'),
    alarmEmail: values.text('ALARM_EMAIL'),
    waf: values.flag('WAF'),
    domain: domain(values),
    vpc: vpc(values),
    retrieval: retrieval(values),
  };
}

function functions(values: Values, type: 'rest' | 'websocket'): FunctionSettings {
  const repository = type === 'rest' ? 'ECR_REST_REPOSITORY' : 'ECR_WEBSOCKET_REPOSITORY';
  return {
    image: { repository: need(values.text(repository)), digest: need(values.text('IMAGE_DIGEST')) },
    architecture: values.text('ARCHITECTURE') === 'arm64' ? 'arm64' : 'x86_64',
    memoryMb: need(values.number('MEMORY_MB')),
    logRetention: need(values.number('LOG_RETENTION_DAYS')),
    environment: values.forGateway(),
  };
}

function authorizerImage(values: Values, type: 'rest' | 'websocket'): Image | undefined {
  if (!values.flag('BEARER_KEYS')) return undefined;
  const digest = type === 'rest' ? 'IMAGE_DIGEST' : 'AUTHORIZER_IMAGE_DIGEST';
  return { repository: need(values.text('ECR_REST_REPOSITORY')), digest: need(values.text(digest)) };
}

/** Every way that a caller or the gateway itself may go. */
function models(values: Values, catalog: Catalog): Way[] {
  const allowed = values.list('ALLOWED_MODELS');
  const names = allowed.length > 0 ? allowed : catalog.ids();
  const ways = [...names.flatMap((name) => catalog.ways(name)), embedder(values, catalog)];
  const byTarget = new Map(ways.filter((way) => way !== undefined).map((way) => [`${way.profile}.${way.model}`, way]));
  return [...byTarget.values()];
}

function embedder(values: Values, catalog: Catalog): Way | undefined {
  if (!retrieval(values) || values.text('RETRIEVAL_MODE') === 'text') return undefined;
  return catalog.choose(values.text('EMBEDDINGS_MODEL') ?? catalog.defaultEmbedding);
}

function domain(values: Values): DomainSettings | undefined {
  const name = values.text('DOMAIN_NAME');
  if (!name) return undefined;
  const certificateArn = need(values.text('CERTIFICATE_ARN'));
  return { name, certificateArn, hostedZoneId: values.text('HOSTED_ZONE_ID') };
}

function vpc(values: Values): VpcSettings | undefined {
  const id = values.text('VPC');
  if (!id) return undefined;
  return {
    id,
    subnets: values.list('VPC_SUBNETS'),
    securityGroup: need(values.text('VPC_SECURITY_GROUP')),
    endpoints: values.text('VPC_ENDPOINTS') === 'create',
    routeTables: values.list('VPC_ROUTE_TABLES'),
  };
}

/** A value that the rules have seen to. */
function need<T>(value: T | undefined): T {
  if (value === undefined) throw new Error('a setting that the rules let pass is missing');
  return value;
}
