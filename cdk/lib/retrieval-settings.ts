/** The settings of the search, and what an endpoint's name tells. */

import type { Values } from './contract.ts';

/** Where passages are searched. */
export interface RetrievalSettings {
  /** An existing domain's or collection's endpoint; none: one is made. */
  readonly endpoint?: string;
  readonly create?: 'domain' | 'serverless';
  readonly service: 'es' | 'aoss';
  readonly auth: 'iam' | 'basic' | 'none';
  readonly index: string;
  /** What the endpoint belongs to, where its name does not tell. */
  readonly arn?: string;
  /** Who may write the index that is made, besides whoever IAM lets. */
  readonly writers: readonly string[];
  /** Secrets Manager's ARN of the password. */
  readonly passwordSecret?: string;
}

/** How AWS's own names end; the gateway goes by the same (`lambda/gateway/src/config/retrieval.rs`). */
const AWS = ['.amazonaws.com', '.amazonaws.com.cn', '.on.aws'];

/** The search that is set, if any. */
export function retrieval(values: Values): RetrievalSettings | undefined {
  const endpoint = values.text('OPENSEARCH_DOMAIN_ENDPOINT');
  const create = values.text('OPENSEARCH_CREATE') as 'domain' | 'serverless' | undefined;
  if (!endpoint && !create) return undefined;
  const host = endpoint ? new URL(endpoint).hostname : '';
  const serverless = create === 'serverless' || host.includes('.aoss.');
  const ours = create !== undefined || AWS.some((end) => host.endsWith(end));
  const auth = ours ? 'iam' : 'none';
  return {
    endpoint,
    create,
    service: (values.text('OPENSEARCH_SERVICE') as 'es' | 'aoss' | undefined) ?? (serverless ? 'aoss' : 'es'),
    auth:
      (values.text('OPENSEARCH_AUTH') as 'iam' | 'basic' | 'none' | undefined) ??
      (values.text('OPENSEARCH_USERNAME') ? 'basic' : auth),
    index: values.text('OPENSEARCH_INDEX') ?? '',
    arn: values.text('OPENSEARCH_ARN'),
    writers: values.list('OPENSEARCH_WRITERS'),
    passwordSecret: values.text('OPENSEARCH_PASSWORD_SECRET'),
  };
}

/** The managed domain that an endpoint of OpenSearch Service's own names. */
export function domainName(endpoint: string): string | undefined {
  const places = /^(?:search|vpc)-(.+)-[a-z0-9]{26}\.(?:[a-z0-9-]+\.es\.amazonaws\.com(?:\.cn)?|aos\.[a-z0-9-]+\.on\.aws)$/;
  return places.exec(new URL(endpoint).hostname)?.[1];
}

/** The region in a name of AWS's own, which requests are signed for (`region_of` in the gateway's `auth.rs`). */
export function regionOf(endpoint: string): string | undefined {
  const ends = /\.([a-z0-9-]+)\.(?:(?:es|aoss)\.amazonaws\.com|es\.amazonaws\.com\.cn|on\.aws)$/;
  return ends.exec(new URL(endpoint).hostname)?.[1];
}

/** The collection that an endpoint of OpenSearch Serverless's own names. */
export function collectionId(endpoint: string): string | undefined {
  const places = /^([a-z0-9]+)\.(?:[a-z0-9-]+\.aoss\.amazonaws\.com|aoss\.[a-z0-9-]+\.on\.aws)$/;
  return places.exec(new URL(endpoint).hostname)?.[1];
}
