/** The two DynamoDB tables: answers, and everything else that is kept. */

import { RemovalPolicy } from 'aws-cdk-lib';
import * as dynamodb from 'aws-cdk-lib/aws-dynamodb';
import { Construct } from 'constructs';
import type { GatewayFunction } from './gateway-function.ts';

export interface StoreProps {
  /** Whether the tables outlive the stack. */
  readonly retain: boolean;
}

const S = dynamodb.AttributeType.STRING;

export class Store extends Construct {
  readonly answers: dynamodb.TableV2;
  readonly state: dynamodb.TableV2;

  constructor(scope: Construct, id: string, props: StoreProps) {
    super(scope, id);
    const kept: dynamodb.TablePropsV2 = {
      partitionKey: { name: 'pk', type: S },
      timeToLiveAttribute: 'expires_at',
      billing: dynamodb.Billing.onDemand(),
      encryption: dynamodb.TableEncryptionV2.dynamoOwnedKey(),
      pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true },
      deletionProtection: props.retain,
      // Also after a failed first deployment: CloudFormation could not delete a protected table, and its
      // rollback would fail. An empty table costs nothing and its name is nobody's.
      removalPolicy: props.retain ? RemovalPolicy.RETAIN : RemovalPolicy.DESTROY,
    };
    this.answers = new dynamodb.TableV2(this, 'Answers', kept);
    this.state = new dynamodb.TableV2(this, 'State', { ...kept, sortKey: { name: 'sk', type: S } });
  }

  /** Lets a function keep things, and tells it where. A transaction's writes are allowed one by one. */
  grantUse(to: GatewayFunction): void {
    to.set('ANSWERS_TABLE', this.answers.tableName);
    to.set('STATE_TABLE', this.state.tableName);
    to.allow({ actions: ['dynamodb:BatchGetItem', 'dynamodb:PutItem'], resources: [this.answers.tableArn] });
    to.allow({
      actions: [
        'dynamodb:BatchWriteItem',
        'dynamodb:DeleteItem',
        'dynamodb:GetItem',
        'dynamodb:PutItem',
        'dynamodb:Query',
        'dynamodb:UpdateItem',
      ],
      resources: [this.state.tableArn],
    });
  }
}
