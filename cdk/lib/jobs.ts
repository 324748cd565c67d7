/** Jobs: their queue, the queue of those that could not be worked off, and the worker. */

import { Duration, RemovalPolicy } from 'aws-cdk-lib';
import * as lambda from 'aws-cdk-lib/aws-lambda';
import * as sqs from 'aws-cdk-lib/aws-sqs';
import { Construct } from 'constructs';
import { type GatewayFunction, LONGEST } from './gateway-function.ts';

export interface JobsProps {
  readonly worker: GatewayFunction;
  /** Jobs worked off at once, 2 at least. */
  readonly concurrency: number;
}

export class Jobs extends Construct {
  readonly queue: sqs.Queue;
  readonly deadLetters: sqs.Queue;

  constructor(scope: Construct, id: string, props: JobsProps) {
    super(scope, id);
    const kept = {
      encryption: sqs.QueueEncryption.SQS_MANAGED,
      enforceSSL: true,
      // A queue holds ids; the jobs are in the state table.
      removalPolicy: RemovalPolicy.DESTROY,
    };
    this.deadLetters = new sqs.Queue(this, 'DeadLetters', { ...kept, retentionPeriod: Duration.days(14) });
    this.queue = new sqs.Queue(this, 'Queue', {
      ...kept,
      // As long as jobs are kept.
      retentionPeriod: Duration.days(7),
      // For workers that die before they can say anything; all others shorten it, and say so again.
      visibilityTimeout: LONGEST,
      deadLetterQueue: { queue: this.deadLetters, maxReceiveCount: 5 },
    });
    this.work(props);
  }

  /** Lets a function queue jobs, and tells it where. */
  grantSend(to: GatewayFunction): void {
    to.set('JOBS_QUEUE_URL', this.queue.queueUrl);
    to.allow({ actions: ['sqs:SendMessage'], resources: [this.queue.queueArn] });
  }

  private work({ worker, concurrency }: JobsProps): void {
    this.grantSend(worker);
    worker.allow({
      actions: ['sqs:ChangeMessageVisibility', 'sqs:DeleteMessage', 'sqs:GetQueueAttributes', 'sqs:ReceiveMessage'],
      resources: [this.queue.queueArn],
    });
    new lambda.EventSourceMapping(this, 'Source', {
      target: worker.function,
      eventSourceArn: this.queue.queueArn,
      // A job that ends its worker takes no other along.
      batchSize: 1,
      maxConcurrency: concurrency,
      reportBatchItemFailures: true,
    });
  }
}
