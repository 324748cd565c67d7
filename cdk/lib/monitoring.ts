/** One dashboard, and alarms that say what to do. */

import { Duration, Stack } from 'aws-cdk-lib';
import * as cloudwatch from 'aws-cdk-lib/aws-cloudwatch';
import { SnsAction } from 'aws-cdk-lib/aws-cloudwatch-actions';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as sns from 'aws-cdk-lib/aws-sns';
import { EmailSubscription } from 'aws-cdk-lib/aws-sns-subscriptions';
import { Construct } from 'constructs';
import type { GatewayFunction } from './gateway-function.ts';
import type { Jobs } from './jobs.ts';

export interface MonitoringProps {
  readonly type: 'rest' | 'websocket';
  /** All functions of the stack. */
  readonly functions: readonly GatewayFunction[];
  /** Metrics of the API itself. */
  readonly api: ApiMetrics;
  readonly jobs?: Jobs;
  /** Who hears of alarms; none: they are only shown. */
  readonly email?: string;
}

/** What API Gateway counts. */
export interface ApiMetrics {
  readonly requests: cloudwatch.IMetric;
  readonly refused: cloudwatch.IMetric;
  /** Failures of each kind, which the alarm adds up. */
  readonly failed: readonly cloudwatch.IMetric[];
}

/** What the gateway writes into its log as metrics (`lambda/gateway/src/telemetry/emf.rs`). */
export const NAMESPACE = 'LlmGateway';

/** The doors of each kind of API, as the metrics name them. */
export const DOORS = {
  rest: ['prompt', 'functionUrl', 'jobs'],
  websocket: ['sendmessage', 'invokeModel', 'chatbot'],
} as const;

const RUNBOOK = 'docs/runbook.md';
const PERIOD = Duration.minutes(5);

export class Monitoring extends Construct {
  readonly dashboardUrl: string;
  private readonly topic?: sns.Topic;

  constructor(scope: Construct, id: string, props: MonitoringProps) {
    super(scope, id);
    if (props.email) this.topic = this.makeTopic(props.email);
    this.alarms(props);
    const dashboard = new cloudwatch.Dashboard(this, 'Dashboard', { defaultInterval: Duration.hours(3) });
    for (const row of this.widgets(props)) dashboard.addWidgets(...row);
    const { region } = Stack.of(this);
    this.dashboardUrl = `https://${region}.console.aws.amazon.com/cloudwatch/home?region=${region}#dashboards/dashboard/${dashboard.dashboardName}`;
  }

  private makeTopic(email: string): sns.Topic {
    const topic = new sns.Topic(this, 'Alarms', { enforceSSL: true, displayName: 'LLM Gateway' });
    topic.addToResourcePolicy(
      new iam.PolicyStatement({
        actions: ['sns:Publish'],
        principals: [new iam.ServicePrincipal('cloudwatch.amazonaws.com')],
        resources: [topic.topicArn],
        conditions: { StringEquals: { 'aws:SourceAccount': Stack.of(this).account } },
      }),
    );
    topic.addSubscription(new EmailSubscription(email));
    return topic;
  }

  private alarms(props: MonitoringProps): void {
    const add = (id: string, metric: cloudwatch.IMetric, threshold: number, what: string, times = 1) => {
      const anchor = id.replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`).slice(1);
      const alarm = new cloudwatch.Alarm(this, id, {
        metric,
        threshold,
        evaluationPeriods: times,
        comparisonOperator: cloudwatch.ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
        treatMissingData: cloudwatch.TreatMissingData.NOT_BREACHING,
        alarmDescription: `${what} What to do: ${RUNBOOK}#${anchor}`,
      });
      if (this.topic) alarm.addAlarmAction(new SnsAction(this.topic));
    };
    const functions = props.functions.map((each) => each.function);
    add('FunctionErrors', sum(functions.map((each) => each.metricErrors({ period: PERIOD }))), 1, 'A function failed or ran out of time.');
    add('FunctionThrottles', sum(functions.map((each) => each.metricThrottles({ period: PERIOD }))), 1, 'Lambda refused to run a function.');
    add('ApiFailures', sum(props.api.failed), 5, 'API Gateway answered five times or more with a failure of its own or of the function.');
    add('ReplyErrors', byDoor('errors', 'Sum', props.type), 5, 'Five replies or more ended in an error.');
    add('StoreFailures', byDoor('store_failures', 'Sum', props.type), 5, 'Replies went on without the tables.');
    add('Throttles', byDoor('throttles', 'Sum', props.type), 20, 'Bedrock, or a limit of ours, was too busy twenty times or more.');
    add('SlowFirstToken', worst('first_token_ms', 'p95', props.type), 10_000, 'One reply in twenty waited ten seconds or more for its first token.', 3);
    if (props.jobs) {
      const { queue, deadLetters } = props.jobs;
      add('DeadLetters', deadLetters.metricApproximateNumberOfMessagesVisible({ period: PERIOD }), 1, 'A job was given up.');
      const age = queue.metricApproximateAgeOfOldestMessage({ period: PERIOD });
      add('JobsWait', age, 900, 'A job has waited for a quarter of an hour.');
    }
  }

  private widgets(props: MonitoringProps): cloudwatch.IWidget[][] {
    const { api } = props;
    const functions = props.functions.map((each) => each.function);
    const invoked = functions.map((each) => each.metricInvocations({ period: PERIOD }));
    const rows = [
      [
        graph('Traffic', [api.requests, ...invoked]),
        graph('Replies by door', [found('total_ms', 'door', 'SampleCount')]),
        graph('Replies by model', [found('total_ms', 'model', 'SampleCount')]),
      ],
      [
        graph('Refused and failed by API Gateway', [api.refused, ...api.failed]),
        graph('Errors by door', [found('errors', 'door', 'Sum'), found('refused', 'door', 'Sum')]),
        graph('Failed functions', functions.map((each) => each.metricErrors({ period: PERIOD }))),
      ],
      [
        graph('Time to first token, ms (p50, p95)', [found('first_token_ms', 'model', 'p50'), found('first_token_ms', 'model', 'p95')]),
        graph('Whole reply, ms (p50, p95)', [found('total_ms', 'model', 'p50'), found('total_ms', 'model', 'p95')]),
        graph('Without the store, without passages', [found('store_failures', 'door', 'Sum'), found('retrieval_unavailable', 'door', 'Sum')]),
      ],
      [
        graph('Tokens', [found('input_tokens', 'model', 'Sum'), found('output_tokens', 'model', 'Sum')]),
        graph('Cost of the models, USD', [found('cost_usd', 'model', 'Sum')]),
        graph('Cache hits, share', [found('cache_hit', 'door', 'Average')]),
      ],
      [
        graph('Throttles', [found('throttles', 'model', 'Sum'), ...functions.map((each) => each.metricThrottles({ period: PERIOD }))]),
        ...(props.jobs
          ? [
              graph('Jobs waiting, dead letters', [
                props.jobs.queue.metricApproximateNumberOfMessagesVisible({ period: PERIOD }),
                props.jobs.deadLetters.metricApproximateNumberOfMessagesVisible({ period: PERIOD }),
              ]),
            ]
          : []),
      ],
    ];
    return rows;
  }
}

function graph(title: string, left: cloudwatch.IMetric[]): cloudwatch.GraphWidget {
  return new cloudwatch.GraphWidget({ title, left, width: 8, height: 6 });
}

/** Every line of a metric by one dimension, whichever values there are. */
function found(metric: string, dimension: 'door' | 'model', statistic: string): cloudwatch.MathExpression {
  const search = `{${NAMESPACE},${dimension}} MetricName="${metric}"`;
  return new cloudwatch.MathExpression({
    expression: `SEARCH('${search}', '${statistic}', ${PERIOD.toSeconds()})`,
    label: `${metric} ${statistic}`,
    period: PERIOD,
  });
}

function ofDoors(metricName: string, statistic: string, type: 'rest' | 'websocket'): cloudwatch.Metric[] {
  return DOORS[type].map(
    (door) => new cloudwatch.Metric({ namespace: NAMESPACE, metricName, statistic, period: PERIOD, dimensionsMap: { door } }),
  );
}

/** An alarm takes no search, so the doors of the stack are named one by one. */
function byDoor(metric: string, statistic: string, type: 'rest' | 'websocket'): cloudwatch.IMetric {
  return sum(ofDoors(metric, statistic, type));
}

function worst(metric: string, statistic: string, type: 'rest' | 'websocket'): cloudwatch.IMetric {
  return together(ofDoors(metric, statistic, type), (ids) => `MAX([${ids.join(', ')}])`);
}

function sum(metrics: readonly cloudwatch.IMetric[]): cloudwatch.IMetric {
  return together(metrics, (ids) => ids.map((id) => `FILL(${id}, 0)`).join(' + '));
}

function together(metrics: readonly cloudwatch.IMetric[], expression: (ids: string[]) => string): cloudwatch.IMetric {
  const [only, ...others] = metrics;
  if (only && others.length === 0) return only;
  const named = metrics.map((metric, place) => [`m${place}`, metric] as const);
  return new cloudwatch.MathExpression({
    expression: expression(named.map(([id]) => id)),
    usingMetrics: Object.fromEntries(named),
    period: PERIOD,
  });
}
