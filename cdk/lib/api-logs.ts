/** Where API Gateway writes its access logs, and the leave it needs for that. */

import { RemovalPolicy } from 'aws-cdk-lib';
import * as apigateway from 'aws-cdk-lib/aws-apigateway';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as logs from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';

export interface ApiLogsProps {
  /** Days. */
  readonly retention: number;
}

export class ApiLogs extends Construct {
  readonly group: logs.LogGroup;
  /** A stage with access logs must be made after it. */
  readonly account: apigateway.CfnAccount;

  constructor(scope: Construct, id: string, props: ApiLogsProps) {
    super(scope, id);
    this.group = new logs.LogGroup(this, 'Access', {
      retention: props.retention,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    // An account has one such role in a region, for all its APIs: whoever is last to name one, names it
    // for all. So it stays when the stack goes, or other stacks would lose their logs.
    const role = new iam.Role(this, 'Role', {
      assumedBy: new iam.ServicePrincipal('apigateway.amazonaws.com'),
      managedPolicies: [
        iam.ManagedPolicy.fromAwsManagedPolicyName('service-role/AmazonAPIGatewayPushToCloudWatchLogs'),
      ],
      description: 'API Gateway writes the access logs of this account and region',
    });
    role.applyRemovalPolicy(RemovalPolicy.RETAIN);
    this.account = new apigateway.CfnAccount(this, 'Account', { cloudWatchRoleArn: role.roleArn });
    this.account.applyRemovalPolicy(RemovalPolicy.RETAIN);
  }
}
