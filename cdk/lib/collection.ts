/** A serverless collection of OpenSearch, for vectors, encrypted and open to whom its policy names. */

import { Aws, Fn, Names, RemovalPolicy } from 'aws-cdk-lib';
import type * as iam from 'aws-cdk-lib/aws-iam';
import * as serverless from 'aws-cdk-lib/aws-opensearchserverless';
import { Construct } from 'constructs';

export interface CollectionProps {
  readonly index: string;
  /** ARNs of those who fill the index. */
  readonly writers: readonly string[];
  /** Whether it outlives the stack. */
  readonly retain: boolean;
}

export class Collection extends Construct {
  readonly endpoint: string;
  readonly arn: string;
  private readonly name: string;
  private readonly index: string;

  constructor(scope: Construct, id: string, props: CollectionProps) {
    super(scope, id);
    // Its policies find a collection by its name, so it has to have one. A part of the stack's id lets a stack
    // made again stand beside the collection that an earlier one of its name left.
    const stack = Fn.select(0, Fn.split('-', Fn.select(2, Fn.split('/', Aws.STACK_ID))));
    this.name = `${Names.uniqueResourceName(this, { maxLength: 14, separator: '-' }).toLowerCase()}-${stack}`;
    this.index = props.index;
    const removal = props.retain ? RemovalPolicy.RETAIN_ON_UPDATE_OR_DELETE : RemovalPolicy.DESTROY;
    const resource = [`collection/${this.name}`];
    const encryption = new serverless.CfnSecurityPolicy(this, 'Encryption', {
      name: this.name,
      type: 'encryption',
      policy: JSON.stringify({ Rules: [{ ResourceType: 'collection', Resource: resource }], AWSOwnedKey: true }),
    });
    const network = new serverless.CfnSecurityPolicy(this, 'Network', {
      name: this.name,
      type: 'network',
      // Reached over its public name, and by signed requests only.
      policy: JSON.stringify([{ Rules: [{ ResourceType: 'collection', Resource: resource }], AllowFromPublic: true }]),
    });
    const collection = new serverless.CfnCollection(this, 'Collection', {
      name: this.name,
      type: 'VECTORSEARCH',
      standbyReplicas: 'DISABLED',
      description: 'The documents of LLM Gateway',
    });
    for (const kept of [encryption, network, collection]) kept.applyRemovalPolicy(removal);
    collection.node.addDependency(encryption, network);
    this.endpoint = collection.attrCollectionEndpoint;
    this.arn = collection.attrArn;
    this.access('Writers', [...props.writers], [
      'aoss:CreateIndex',
      'aoss:DescribeIndex',
      'aoss:ReadDocument',
      'aoss:UpdateIndex',
      'aoss:WriteDocument',
    ]);
  }

  /** The collection's own half of the leave to search; IAM's is `aoss:APIAccessAll`. */
  grantSearch(role: iam.IRole): void {
    this.access(`Reader${role.node.addr.slice(-7)}`, [role.roleArn], ['aoss:DescribeIndex', 'aoss:ReadDocument']);
  }

  private access(id: string, principals: string[], permissions: string[]): void {
    // Of at most 32 characters: 14, 8 of the stack's id, 7 and two hyphens.
    const name = `${this.name}-${id.slice(-7).toLowerCase()}`;
    new serverless.CfnAccessPolicy(this, id, {
      name,
      type: 'data',
      policy: `[{"Rules":[{"ResourceType":"index","Resource":["index/${this.name}/${this.index}"],"Permission":${JSON.stringify(permissions)}}],"Principal":["${principals.join('","')}"]}]`,
    });
  }
}
