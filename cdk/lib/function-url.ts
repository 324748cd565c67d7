/** A function URL that streams, for callers whom IAM knows. */

import * as iam from 'aws-cdk-lib/aws-iam';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import { Construct } from 'constructs';
import type { GatewayFunction } from './gateway-function.ts';

export interface FunctionUrlProps {
  readonly function: GatewayFunction;
}

export class FunctionUrl extends Construct {
  readonly url: string;
  private readonly arn: string;

  constructor(scope: Construct, id: string, props: FunctionUrlProps) {
    super(scope, id);
    const url = new lambda.FunctionUrl(this, 'Url', {
      function: props.function.function,
      authType: lambda.FunctionUrlAuthType.AWS_IAM,
      invokeMode: lambda.InvokeMode.RESPONSE_STREAM,
    });
    this.url = url.url;
    this.arn = props.function.function.functionArn;
  }

  /**
   * Lets a caller post to the URL. Lambda asks for both actions; the second only by way of the URL,
   * or its holder could invoke the function with a request context of his own making, and be anyone.
   */
  grantCall(to: iam.IGrantable): void {
    const add = (action: string, conditions: Record<string, unknown>) =>
      to.grantPrincipal.addToPrincipalPolicy(
        new iam.PolicyStatement({ actions: [action], resources: [this.arn], conditions }),
      );
    add('lambda:InvokeFunctionUrl', { StringEquals: { 'lambda:FunctionUrlAuthType': 'AWS_IAM' } });
    add('lambda:InvokeFunction', { Bool: { 'lambda:InvokedViaFunctionUrl': 'true' } });
  }
}
