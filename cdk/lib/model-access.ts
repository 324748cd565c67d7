/**
 * Which models of Bedrock may be invoked, in every region that an inference profile may carry a
 * request to.
 */

import { Stack } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import type { Way } from './catalog.ts';
import type { GatewayFunction } from './gateway-function.ts';

export interface ModelAccessProps {
  readonly ways: readonly Way[];
  /** What embeds the questions of a search; every function that answers asks it. */
  readonly embedder?: Way;
}

/**
 * Where the profiles of a geography carry requests to, besides the region that they come from. A
 * model need not be in all of them; what it allows, it allows through the profile only. From
 * https://docs.aws.amazon.com/bedrock/latest/userguide/inference-profiles-support.html
 */
const REACH: Readonly<Record<string, readonly string[]>> = {
  us: ['us-east-1', 'us-east-2', 'us-west-1', 'us-west-2'],
  'us-gov': ['us-gov-east-1', 'us-gov-west-1'],
  eu: ['eu-central-1', 'eu-north-1', 'eu-south-1', 'eu-south-2', 'eu-west-1', 'eu-west-3'],
  apac: [
    'ap-northeast-1',
    'ap-northeast-2',
    'ap-northeast-3',
    'ap-south-1',
    'ap-south-2',
    'ap-southeast-1',
    'ap-southeast-2',
    'ap-southeast-4',
  ],
  jp: ['ap-northeast-1', 'ap-northeast-3'],
  au: ['ap-southeast-2', 'ap-southeast-4'],
};

/** A managed policy has at most 6,144 characters without white space. */
const POLICY_SIZE = 5_800;

export class ModelAccess extends Construct {
  private readonly policies: iam.ManagedPolicy[];
  private readonly embedding: readonly Way[];

  constructor(scope: Construct, id: string, props: ModelAccessProps) {
    super(scope, id);
    const { embedder } = props;
    const searches = (way: Way) => way.model === embedder?.model && way.profile === embedder.profile;
    this.embedding = props.ways.filter((way) => way.embeds && !searches(way));
    this.policies = this.made('Policy', props.ways.filter((way) => !this.embedding.includes(way)));
  }

  /** Lets a function invoke the models, and tells it from which region. */
  grantInvoke(to: GatewayFunction): void {
    to.set('REGION_ID', Stack.of(this).region);
    for (const policy of this.policies) to.role.addManagedPolicy(policy);
  }

  /** Lets a function embed for its callers, by every model that does. */
  grantEmbed(to: GatewayFunction): void {
    for (const policy of this.made('Embedding', this.embedding)) to.role.addManagedPolicy(policy);
  }

  private made(id: string, ways: readonly Way[]): iam.ManagedPolicy[] {
    const description = 'The models that LLM Gateway may invoke';
    return packed(ways.flatMap((way) => this.statements(way))).map(
      (statements, place) => new iam.ManagedPolicy(this, `${id}${place}`, { description, statements }),
    );
  }

  private statements(way: Way): iam.PolicyStatement[] {
    const { region } = Stack.of(this);
    // A whole answer is a stream that is waited for, so nothing but embedding invokes without one.
    const actions = [way.embeds ? 'bedrock:InvokeModel' : 'bedrock:InvokeModelWithResponseStream'];
    const { profile } = way;
    if (profile === undefined) return [statement(actions, [this.model(way, region)])];
    const arn = this.arn(region, Stack.of(this).account, `inference-profile/${profile}.${way.model}`);
    const through = { 'bedrock:InferenceProfileArn': arn };
    if (profile !== 'global') {
      const regions = [...new Set([region, ...(REACH[profile] ?? [])])];
      const models = regions.map((region) => this.model(way, region));
      return [statement(actions, [arn]), statement(actions, models, through)];
    }
    return [
      statement(actions, [arn]),
      statement(actions, [this.model(way, region)], { ...through, 'aws:RequestedRegion': region }),
      // Of a request that goes anywhere, AWS names neither the region of the model nor that asked for.
      statement(actions, [this.model(way, '')], { ...through, 'aws:RequestedRegion': 'unspecified' }),
    ];
  }

  private model(way: Way, region: string): string {
    return this.arn(region, '', `foundation-model/${way.model}`);
  }

  private arn(region: string, account: string, resource: string): string {
    return `arn:${Stack.of(this).partition}:bedrock:${region}:${account}:${resource}`;
  }
}

function statement(actions: string[], resources: string[], equals?: Record<string, string>): iam.PolicyStatement {
  return new iam.PolicyStatement({ actions, resources, ...(equals ? { conditions: { StringEquals: equals } } : {}) });
}

/** The statements in as few policies as hold them. */
function packed(statements: iam.PolicyStatement[]): iam.PolicyStatement[][] {
  const policies: iam.PolicyStatement[][] = [];
  let room = 0;
  for (const statement of statements) {
    // Tokens stand for an account or a partition, which are shorter than their placeholders.
    const size = JSON.stringify(statement.toStatementJson()).length;
    if (size > room) {
      policies.push([]);
      room = POLICY_SIZE;
    }
    policies.at(-1)?.push(statement);
    room -= size;
  }
  return policies;
}
