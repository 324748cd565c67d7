/** The WebSocket API: a door at `$connect`, and every message to the one function. */

import { Stack } from 'aws-cdk-lib';
import * as apigateway from 'aws-cdk-lib/aws-apigateway';
import * as apigatewayv2 from 'aws-cdk-lib/aws-apigatewayv2';
import { WebSocketIamAuthorizer, WebSocketLambdaAuthorizer } from 'aws-cdk-lib/aws-apigatewayv2-authorizers';
import { WebSocketLambdaIntegration } from 'aws-cdk-lib/aws-apigatewayv2-integrations';
import * as iam from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import type { ApiLogs } from './api-logs.ts';
import type { GatewayFunction } from './gateway-function.ts';
import type { Keys } from './keys.ts';
import type { Auth, Limits } from './settings.ts';

export interface WebSocketApiProps {
  readonly function: GatewayFunction;
  readonly auth: Auth;
  /** Reads bearer keys; with `auth.bearer`. */
  readonly authorizer?: GatewayFunction;
  readonly limits: Limits;
  readonly logs: ApiLogs;
}

/** One JSON object an event; never a key or a message. */
const ACCESS_LOG = {
  request_id: '$context.requestId',
  time: '$context.requestTime',
  ip: '$context.identity.sourceIp',
  connection_id: '$context.connectionId',
  api_key_id: '$context.identity.apiKeyId',
  caller: '$context.identity.userArn',
  event: '$context.eventType',
  status: '$context.status',
  error: '$context.error.responseType',
  integration_error: '$context.integrationErrorMessage',
  integration_latency_ms: '$context.integrationLatency',
};

export class WebSocketApi extends Construct {
  readonly api: apigatewayv2.WebSocketApi;
  readonly stage: apigatewayv2.WebSocketStage;
  readonly keys?: Keys;

  constructor(scope: Construct, id: string, props: WebSocketApiProps) {
    super(scope, id);
    const { auth, limits, logs } = props;
    this.api = new apigatewayv2.WebSocketApi(this, 'Api', {
      apiName: Stack.of(this).stackName,
      description: 'LLM Gateway',
      apiKeySelectionExpression: auth.bearer
        ? apigatewayv2.WebSocketApiKeySelectionExpression.AUTHORIZER_USAGE_IDENTIFIER_KEY
        : apigatewayv2.WebSocketApiKeySelectionExpression.HEADER_X_API_KEY,
    });
    this.routes(props);
    this.stage = new apigatewayv2.WebSocketStage(this, 'Stage', {
      webSocketApi: this.api,
      stageName: 'prod',
      autoDeploy: true,
      throttle: { rateLimit: limits.rate, burstLimit: limits.burst },
      accessLogSettings: {
        destination: new apigatewayv2.LogGroupLogDestination(logs.group),
        format: apigateway.AccessLogFormat.custom(JSON.stringify(ACCESS_LOG)),
      },
    });
    this.stage.node.addDependency(logs.account);
    if (auth.apiKey) this.keys = this.usagePlan(limits);
  }

  /** Lets a function push to this stage's connections and close them, and tells it where they are. */
  grantPush(to: GatewayFunction): void {
    const stage = this.arn(`${this.stage.stageName}/POST/@connections/*`);
    const closed = this.arn(`${this.stage.stageName}/DELETE/@connections/*`);
    to.set('CALLBACK_URL', this.stage.callbackUrl);
    to.allow({ actions: ['execute-api:ManageConnections'], resources: [stage, closed] });
  }

  /** Lets a caller whom IAM knows connect. */
  grantCall(to: iam.IGrantable): void {
    const resources = [this.arn(`${this.stage.stageName}/$connect`)];
    to.grantPrincipal.addToPrincipalPolicy(new iam.PolicyStatement({ actions: ['execute-api:Invoke'], resources }));
  }

  private arn(resourceName: string): string {
    return Stack.of(this).formatArn({ service: 'execute-api', resource: this.api.apiId, resourceName });
  }

  /** One route for all messages: what a message wants is read from its text, by the function. */
  private routes(props: WebSocketApiProps): void {
    const { auth, authorizer } = props;
    const integration = () => new WebSocketLambdaIntegration('Messages', props.function.function);
    const bearer = authorizer && new WebSocketLambdaAuthorizer('Bearer', authorizer.function, { identitySource: [] });
    // The key is asked for by the route: a selection expression alone leaves it open.
    new apigatewayv2.WebSocketRoute(this, 'Connect', {
      webSocketApi: this.api,
      routeKey: '$connect',
      integration: integration(),
      apiKeyRequired: auth.apiKey,
      authorizer: auth.iam ? new WebSocketIamAuthorizer() : bearer,
    });
    for (const [id, routeKey] of [
      ['Disconnect', '$disconnect'],
      ['Message', '$default'],
    ] as const) {
      new apigatewayv2.WebSocketRoute(this, id, { webSocketApi: this.api, routeKey, integration: integration() });
    }
  }

  private usagePlan(limits: Limits): Keys {
    const plan = new apigatewayv2.UsagePlan(this, 'Plan', {
      description: 'Callers of LLM Gateway',
      apiStages: [{ api: this.api, stage: this.stage }],
      throttle: { rateLimit: limits.rate, burstLimit: limits.burst },
      ...(limits.monthly ? { quota: { limit: limits.monthly, period: apigatewayv2.Period.MONTH } } : {}),
    });
    const key = new apigatewayv2.ApiKey(this, 'Key', { description: 'The first caller of LLM Gateway' });
    plan.addApiKey(key);
    return { keyId: key.keyId, planId: plan.usagePlanId };
  }
}
