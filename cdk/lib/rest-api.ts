/** The REST API: every path to the function, whose replies stream for up to 15 minutes. */

import { Duration, Stack } from 'aws-cdk-lib';
import * as apigateway from 'aws-cdk-lib/aws-apigateway';
import * as iam from 'aws-cdk-lib/aws-iam';
import { Construct } from 'constructs';
import type { ApiLogs } from './api-logs.ts';
import { type GatewayFunction, LONGEST } from './gateway-function.ts';
import { addGatewayResponses } from './gateway-responses.ts';
import type { Keys } from './keys.ts';
import type { Auth, Limits } from './settings.ts';

export interface RestApiProps {
  readonly function: GatewayFunction;
  readonly auth: Auth;
  /** Reads bearer keys; with `auth.bearer`. */
  readonly authorizer?: GatewayFunction;
  readonly limits: Limits;
  /** Of the web pages that may call. */
  readonly origins: readonly string[];
  readonly logs: ApiLogs;
}

/** One JSON object a request: who, what, how long; never a key or a body. */
const ACCESS_LOG = JSON.stringify({
  request_id: '$context.requestId',
  time: '$context.requestTime',
  ip: '$context.identity.sourceIp',
  api_key_id: '$context.identity.apiKeyId',
  caller: '$context.identity.userArn',
  method: '$context.httpMethod',
  path: '$context.path',
  status: '$context.status',
  error: '$context.error.responseType',
  integration_error: '$context.integration.error',
  latency_ms: '$context.responseLatency',
  integration_latency_ms: '$context.integrationLatency',
  response_bytes: '$context.responseLength',
});

/** What browsers may send and read (`lambda/gateway/src/edge/cors.rs`). */
const CORS_HEADERS = ['authorization', 'content-type', 'x-api-key', 'idempotency-key', 'accept'];

export class RestApi extends Construct {
  readonly api: apigateway.RestApi;
  readonly keys?: Keys;

  constructor(scope: Construct, id: string, props: RestApiProps) {
    super(scope, id);
    const { auth, limits, logs, origins } = props;
    this.api = new apigateway.RestApi(this, 'Api', {
      // CloudWatch knows a REST API by its name.
      restApiName: Stack.of(this).stackName,
      description: 'LLM Gateway',
      // An edge endpoint would cut a stream after 30 seconds of silence.
      endpointTypes: [apigateway.EndpointType.REGIONAL],
      apiKeySourceType: auth.bearer ? apigateway.ApiKeySourceType.AUTHORIZER : apigateway.ApiKeySourceType.HEADER,
      cloudWatchRole: false,
      deployOptions: {
        stageName: 'prod',
        accessLogDestination: new apigateway.LogGroupLogDestination(logs.group),
        accessLogFormat: apigateway.AccessLogFormat.custom(ACCESS_LOG),
        throttlingRateLimit: limits.rate,
        throttlingBurstLimit: limits.burst,
      },
      ...(origins.length > 0
        ? {
            defaultCorsPreflightOptions: {
              allowOrigins: [...origins],
              allowMethods: ['GET', 'POST', 'DELETE', 'OPTIONS'],
              allowHeaders: CORS_HEADERS,
              maxAge: Duration.minutes(10),
            },
          }
        : {}),
    });
    this.api.deploymentStage.node.addDependency(logs.account);
    // The stack has an output of its own for it.
    this.api.node.tryRemoveChild('Endpoint');
    this.methods(props);
    addGatewayResponses(this.api, origins);
    if (auth.apiKey) this.keys = this.usagePlan(limits);
  }

  /** Lets a caller whom IAM knows call every route. */
  grantCall(to: iam.IGrantable): void {
    const resources = [this.api.arnForExecuteApi('*', '/*', 'prod')];
    to.grantPrincipal.addToPrincipalPolicy(new iam.PolicyStatement({ actions: ['execute-api:Invoke'], resources }));
  }

  private methods(props: RestApiProps): void {
    const integration = new apigateway.LambdaIntegration(props.function.function, {
      responseTransferMode: apigateway.ResponseTransferMode.STREAM,
      timeout: LONGEST,
      // Nobody but the stage calls: no permission for the console's tests.
      allowTestInvoke: false,
    });
    const model = this.api.addModel('Object', {
      contentType: 'application/json',
      schema: { schema: apigateway.JsonSchemaVersion.DRAFT4, type: apigateway.JsonSchemaType.OBJECT },
    });
    const validator = this.api.addRequestValidator('Validator', {
      validateRequestBody: true,
      validateRequestParameters: true,
    });
    const options: apigateway.MethodOptions = { ...this.access(props), requestValidator: validator };
    const root = this.api.root;
    const rest = root.addResource('{proxy+}');
    for (const resource of [root, rest]) {
      const named = resource === rest ? { requestParameters: { 'method.request.path.proxy': true } } : {};
      resource.addMethod('ANY', integration, { ...options, ...named });
      // Other content types come through unlooked at: the doors read JSON whatever it is called.
      resource.addMethod('POST', integration, { ...options, ...named, requestModels: { 'application/json': model } });
    }
  }

  private access({ auth, authorizer }: RestApiProps): apigateway.MethodOptions {
    if (auth.bearer && authorizer) {
      const reader = new apigateway.RequestAuthorizer(this, 'Bearer', {
        handler: authorizer.function,
        // A key may come in either of two headers, and naming one would make it necessary.
        identitySources: [],
        resultsCacheTtl: Duration.seconds(0),
      });
      // CDK says it as an empty text, which names no source and is none either.
      (reader.node.defaultChild as apigateway.CfnAuthorizer).addPropertyDeletionOverride('IdentitySource');
      return { apiKeyRequired: true, authorizer: reader, authorizationType: apigateway.AuthorizationType.CUSTOM };
    }
    const authorizationType = auth.iam ? apigateway.AuthorizationType.IAM : apigateway.AuthorizationType.NONE;
    return { apiKeyRequired: auth.apiKey, authorizationType };
  }

  private usagePlan(limits: Limits): Keys {
    const plan = this.api.addUsagePlan('Plan', {
      description: 'Callers of LLM Gateway',
      apiStages: [{ api: this.api, stage: this.api.deploymentStage }],
      throttle: { rateLimit: limits.rate, burstLimit: limits.burst },
      ...(limits.monthly ? { quota: { limit: limits.monthly, period: apigateway.Period.MONTH } } : {}),
    });
    const key = this.api.addApiKey('Key', { description: 'The first caller of LLM Gateway' });
    plan.addApiKey(key);
    return { keyId: key.keyId, planId: plan.usagePlanId };
  }
}
