/** One Lambda function of the gateway: an image by digest, a role of its own, a log group of its own. */

import { Duration, RemovalPolicy } from 'aws-cdk-lib';
import * as ecr from 'aws-cdk-lib/aws-ecr';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import * as logs from 'aws-cdk-lib/aws-logs';
import { Construct } from 'constructs';
import type { Network } from './network.ts';
import type { FunctionSettings, Image } from './settings.ts';

export interface GatewayFunctionProps {
  readonly description: string;
  /** What the `rest` image is here; none: the image has one role only. */
  readonly role?: 'api' | 'worker' | 'authorizer';
  readonly image: Image;
  readonly settings: FunctionSettings;
  readonly network?: Network;
}

/** The longest that a Lambda function may run, and a reply may take. */
export const LONGEST = Duration.minutes(15);

export class GatewayFunction extends Construct {
  readonly function: lambda.DockerImageFunction;
  readonly role: iam.Role;
  readonly logGroup: logs.LogGroup;

  constructor(scope: Construct, id: string, props: GatewayFunctionProps) {
    super(scope, id);
    const { settings, image, network } = props;
    const authorizer = props.role === 'authorizer';
    this.role = new iam.Role(this, 'Role', {
      assumedBy: new iam.ServicePrincipal('lambda.amazonaws.com'),
      description: props.description,
    });
    this.logGroup = new logs.LogGroup(this, 'Log', {
      retention: settings.logRetention,
      removalPolicy: RemovalPolicy.DESTROY,
    });
    // Exactly its own log, instead of the managed policy that opens every log of the account.
    this.logGroup.grantWrite(this.role);
    const repository = ecr.Repository.fromRepositoryName(this, 'Repository', image.repository);
    this.function = new lambda.DockerImageFunction(this, 'Function', {
      description: props.description,
      code: lambda.DockerImageCode.fromEcr(repository, { tagOrDigest: image.digest }),
      architecture: settings.architecture === 'arm64' ? lambda.Architecture.ARM_64 : lambda.Architecture.X86_64,
      memorySize: authorizer ? 128 : settings.memoryMb,
      timeout: authorizer ? Duration.seconds(10) : LONGEST,
      role: this.role,
      logGroup: this.logGroup,
      loggingFormat: lambda.LoggingFormat.JSON,
      environment: { ...(authorizer ? {} : settings.environment), ...(props.role ? { ROLE: props.role } : {}) },
      ...network?.placement(),
    });
    network?.grantPlacement(this);
  }

  /** Lets the function do exactly this. */
  allow(statement: { actions: string[]; resources: string[]; conditions?: Record<string, unknown> }): void {
    this.role.addToPolicy(new iam.PolicyStatement(statement));
  }

  /** Sets a variable of the function. */
  set(name: string, value: string): void {
    this.function.addEnvironment(name, value);
  }
}
