/** The app: one stack, from what is set in an environment. */

import { App, type AppProps, DefaultStackSynthesizer } from 'aws-cdk-lib';
import { GatewayStack } from './gateway-stack.ts';
import type { Settings } from './settings.ts';

/** Context key for deploying to an endpoint whose bootstrap has no version, such as a local one. */
export const LOCAL = 'llm-gateway:local-endpoint';

/** Behaviours of CDK that new projects have. */
const FLAGS = {
  '@aws-cdk/aws-apigateway:authorizerChangeDeploymentLogicalId': true,
  '@aws-cdk/aws-apigateway:usagePlanKeyOrderInsensitiveId': true,
  '@aws-cdk/aws-iam:standardizedServicePrincipals': true,
  '@aws-cdk/aws-lambda:createNewPoliciesWithAddToRolePolicy': false,
  '@aws-cdk/core:checkSecretUsage': true,
  '@aws-cdk/core:enablePartitionLiterals': true,
};

/** An app and its one stack; `props` are for whoever runs it without the `cdk` command. */
export function makeApp(settings: Settings, props: AppProps = {}): { app: App; stack: GatewayStack } {
  const app = new App({ analyticsReporting: false, ...props, context: { ...FLAGS, ...props.context } });
  const local = app.node.tryGetContext(LOCAL) !== undefined;
  const stack = new GatewayStack(app, settings.stackName, {
    settings,
    env: { region: settings.region },
    ...(local ? { synthesizer: new DefaultStackSynthesizer({ generateBootstrapVersionRule: false }) } : {}),
  });
  return { app, stack };
}
