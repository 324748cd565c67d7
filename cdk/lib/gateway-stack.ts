/** The stack: the rooms put together as the settings say. */

import { Annotations, CfnOutput, Stack, type StackProps } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import type { Construct, IConstruct } from 'constructs';
import { ApiLogs } from './api-logs.ts';
import { costPer1000, idleCost, modelCostPer1000 } from './costs.ts';
import { CustomDomain } from './custom-domain.ts';
import { Firewall } from './firewall.ts';
import { FunctionUrl } from './function-url.ts';
import { GatewayFunction } from './gateway-function.ts';
import { Jobs } from './jobs.ts';
import type { Keys } from './keys.ts';
import { ModelAccess } from './model-access.ts';
import { type ApiMetrics, Monitoring } from './monitoring.ts';
import { Network } from './network.ts';
import { RestApi } from './rest-api.ts';
import { Retrieval } from './retrieval.ts';
import { authMode, type Settings } from './settings.ts';
import { Store } from './store.ts';
import { warnings } from './warnings.ts';
import { WebSocketApi } from './websocket-api.ts';

export interface GatewayStackProps extends StackProps {
  readonly settings: Settings;
}

/** A stage of either kind of API. */
interface IStage extends IConstruct {
  readonly stageName: string;
}

export class GatewayStack extends Stack {
  private readonly settings: Settings;
  private readonly network?: Network;
  private readonly store: Store;
  private readonly models: ModelAccess;
  private readonly retrieval?: Retrieval;
  private readonly functions: GatewayFunction[] = [];

  constructor(scope: Construct, id: string, props: GatewayStackProps) {
    const { settings } = props;
    super(scope, id, { description: 'LLM Gateway: one door before Amazon Bedrock', ...props });
    this.settings = settings;
    const { vpc, retrieval } = settings;
    if (vpc) this.network = new Network(this, 'Network', { settings: vpc, queue: settings.jobs !== undefined });
    this.store = new Store(this, 'Store', { retain: settings.retainTables });
    this.models = new ModelAccess(this, 'Models', { ways: settings.models, embedder: settings.embedder });
    if (retrieval) {
      const { network } = this;
      this.retrieval = new Retrieval(this, 'Retrieval', { settings: retrieval, network, retain: settings.retainTables });
    }
    if (settings.type === 'rest') this.rest();
    else this.webSocket();
    this.outputs();
    for (const [warning, text] of Object.entries(warnings(settings, idleCost(this)))) {
      Annotations.of(this).addWarningV2(`llm-gateway:${warning}`, text);
    }
  }

  private rest(): void {
    const { auth, limits, origins, jobs: concurrency } = this.settings;
    const api = this.answering('Function', 'LLM Gateway: answers HTTP', 'api');
    this.out('FunctionRoleArn', api.role.roleArn);
    const rest = new RestApi(this, 'Rest', {
      function: api,
      auth,
      authorizer: this.authorizer(),
      limits,
      origins,
      logs: this.apiLogs(),
    });
    let jobs: Jobs | undefined;
    if (concurrency !== undefined) {
      const worker = this.answering('Worker', 'LLM Gateway: works off jobs', 'worker');
      this.out('WorkerRoleArn', worker.role.roleArn);
      jobs = new Jobs(this, 'Jobs', { worker, concurrency });
      jobs.grantSend(api);
      this.out('JobsQueueUrl', jobs.queue.queueUrl);
      this.out('DeadLetterQueueUrl', jobs.deadLetters.queueUrl);
    }
    const url = this.settings.functionUrl ? new FunctionUrl(this, 'Url', { function: api }) : undefined;
    if (url) this.out('FunctionUrl', url.url);
    const stage = rest.api.deploymentStage;
    // A fifth of what the stage lets through in five minutes.
    if (this.settings.waf) new Firewall(this, 'Firewall', { stage: stage.stageArn, perAddress: limits.rate * 60 });
    this.callers([...(auth.iam ? [rest] : []), ...(url ? [url] : [])]);
    this.keys(rest.keys);
    this.out('ApiUrl', this.domain(rest.api.restApiId, rest.api.url, 'https', stage) ?? rest.api.url);
    const [requests, refused, failed] = [rest.api.metricCount(), rest.api.metricClientError(), rest.api.metricServerError()];
    this.monitor({ requests, refused, failed: [failed] }, jobs);
  }

  private webSocket(): void {
    const { auth, limits } = this.settings;
    const api = this.answering('Function', 'LLM Gateway: answers WebSocket messages');
    this.out('FunctionRoleArn', api.role.roleArn);
    const socket = new WebSocketApi(this, 'WebSocket', {
      function: api,
      auth,
      authorizer: this.authorizer(),
      limits,
      logs: this.apiLogs(),
    });
    socket.grantPush(api);
    this.callers(auth.iam ? [socket] : []);
    this.keys(socket.keys);
    const { stage } = socket;
    this.out('ApiUrl', this.domain(socket.api.apiId, stage.url, 'wss', stage) ?? stage.url);
    const metric = (name: string) => socket.api.metric(name, { statistic: 'Sum' });
    // What the function fails at is counted apart from what API Gateway fails at.
    const failed = [metric('ExecutionError'), metric('IntegrationError')];
    this.monitor({ requests: metric('MessageCount'), refused: metric('ClientError'), failed });
  }

  /** A function that answers, with all that answering takes. */
  private answering(id: string, description: string, role?: 'api' | 'worker'): GatewayFunction {
    const { functions: settings } = this.settings;
    const { network } = this;
    const made = new GatewayFunction(this, id, { description, role, image: settings.image, settings, network });
    this.store.grantUse(made);
    this.models.grantInvoke(made);
    // Only the REST API has a door to embed by.
    if (role === 'api') this.models.grantEmbed(made);
    this.retrieval?.grantSearch(made);
    this.functions.push(made);
    return made;
  }

  private authorizer(): GatewayFunction | undefined {
    const { authorizerImage: image, functions: settings } = this.settings;
    if (!image) return undefined;
    const description = 'LLM Gateway: reads bearer keys';
    const made = new GatewayFunction(this, 'Authorizer', { description, role: 'authorizer', image, settings });
    this.functions.push(made);
    return made;
  }

  private apiLogs(): ApiLogs {
    return new ApiLogs(this, 'ApiLogs', { retention: this.settings.functions.logRetention });
  }

  /** A policy for those who may call: to be attached to whom the user chooses. */
  private callers(doors: readonly { grantCall(to: iam.IGrantable): void }[]): void {
    if (doors.length === 0) return;
    const policy = new iam.ManagedPolicy(this, 'Callers', { description: 'May call LLM Gateway' });
    for (const door of doors) door.grantCall(policy);
    this.out('CallerPolicyArn', policy.managedPolicyArn);
  }

  private keys(keys?: Keys): void {
    if (!keys) return;
    this.out('ApiKeyId', keys.keyId);
    this.out('UsagePlanId', keys.planId);
  }

  /** The URL by a name of the user's own; the API's own stays, and is output beside it. */
  private domain(apiId: string, own: string, scheme: string, stage: IStage): string | undefined {
    const { domain: settings } = this.settings;
    if (!settings) return undefined;
    const domain = new CustomDomain(this, 'Domain', { settings, apiId, stage: stage.stageName });
    domain.mapping.node.addDependency(stage);
    this.out('StageUrl', own);
    if (!settings.hostedZoneId) this.out('DomainTarget', domain.target);
    return `${scheme}://${settings.name}/`;
  }

  private monitor(api: ApiMetrics, jobs?: Jobs): void {
    const { monitoring, type, alarmEmail: email } = this.settings;
    if (!monitoring) return;
    const made = new Monitoring(this, 'Monitoring', { type, functions: this.functions, api, jobs, email });
    this.out('DashboardUrl', made.dashboardUrl);
  }

  private outputs(): void {
    const { settings } = this;
    this.out('AnswersTable', this.store.answers.tableName);
    this.out('StateTable', this.store.state.tableName);
    this.out('ImageDigest', settings.functions.image.digest);
    // Of a WebSocket API; a REST API reads bearer keys with the image that answers.
    if (settings.authorizerImage && settings.type === 'websocket') this.out('AuthorizerImageDigest', settings.authorizerImage.digest);
    this.out('AuthMode', authMode(settings.auth));
    if (this.retrieval) this.out('OpenSearchEndpoint', this.retrieval.endpoint);
    if (this.retrieval?.writers) this.out('DocumentsPolicyArn', this.retrieval.writers.managedPolicyArn);
    this.out('IdleCostUsd', idleCost(this).toFixed(2));
    this.out('CostPer1000Usd', costPer1000(settings).toFixed(3));
    this.out('ModelCostPer1000Usd', modelCostPer1000(settings).toFixed(2));
  }

  private out(id: string, value: string): void {
    new CfnOutput(this, id, { value });
  }
}
