/** Stacks for tests: settings in, the synthesised template out. */

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { makeApp } from '../lib/app.ts';
import type { Vars } from '../lib/contract.ts';
import { readSettings, WrongSettings } from '../lib/settings.ts';

export interface Resource {
  readonly Type: string;
  readonly Properties: any;
  readonly DependsOn?: string[];
  readonly DeletionPolicy?: string;
  readonly UpdateReplacePolicy?: string;
}

export interface Template {
  readonly Resources: Record<string, Resource>;
  readonly Outputs: Record<string, { Value: unknown }>;
}

/** What the smallest deployment sets. */
export const BASE: Vars = { IMAGE_DIGEST: `sha256:${'a'.repeat(64)}`, ARCHITECTURE: 'x86_64' };

export const WEBSOCKET: Vars = { API_GATEWAY_TYPE: 'websocket' };

/** Every way to show who one is; `auth` of a name. */
export const AUTHS: Record<string, Vars> = {
  'api-key': { API_GATEWAY_USE_API_KEY: 'true', API_GATEWAY_USE_IAM_AUTH: 'false' },
  iam: { API_GATEWAY_USE_API_KEY: 'false', API_GATEWAY_USE_IAM_AUTH: 'true' },
  'api-key+iam': { API_GATEWAY_USE_API_KEY: 'true', API_GATEWAY_USE_IAM_AUTH: 'true' },
  bearer: { BEARER_KEYS: 'true', AUTHORIZER_IMAGE_DIGEST: `sha256:${'b'.repeat(64)}` },
  none: { API_GATEWAY_USE_API_KEY: 'false', API_GATEWAY_USE_IAM_AUTH: 'false' },
};

export const VPC: Vars = {
  VPC: 'vpc-0123456789abcdef0',
  VPC_SUBNETS: 'subnet-0123456789abcdef0,subnet-0123456789abcdef1',
  VPC_SECURITY_GROUP: 'sg-0123456789abcdef0',
  VPC_ROUTE_TABLES: 'rtb-0123456789abcdef0',
};

/** Every kind of OpenSearch, by name. */
export const RETRIEVALS: Record<string, Vars> = {
  none: {},
  domain: { OPENSEARCH_DOMAIN_ENDPOINT: 'https://search-docs-abcdefghijklmnopqrstuvwxyz.us-east-1.es.amazonaws.com' },
  collection: { OPENSEARCH_DOMAIN_ENDPOINT: 'https://abc123.us-east-1.aoss.amazonaws.com' },
  'new domain': { OPENSEARCH_CREATE: 'domain' },
  'new collection': {
    OPENSEARCH_CREATE: 'serverless',
    OPENSEARCH_WRITERS: 'arn:aws:iam::123456789012:role/Librarian',
  },
};

/** Runs something over a directory that is gone afterwards. */
export function withDirectory<T>(run: (directory: string) => T): T {
  const directory = mkdtempSync(join(tmpdir(), 'llm-gateway-cdk-'));
  try {
    return run(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

/** The stack as CloudFormation gets it, and what was said about it. */
export function synth(vars: Vars): { template: Template; warnings: string[] } {
  const settings = readSettings({ ...BASE, ...vars });
  // Where each resource was made is nobody's question here.
  const context = { 'aws:cdk:disable-stack-trace': true };
  return withDirectory((outdir) => {
    const artifact = makeApp(settings, { outdir, context }).app.synth().getStackByName(settings.stackName);
    const warnings = artifact.messages.map((message) => String(message.entry.data));
    return { template: artifact.template as Template, warnings };
  });
}

export function template(vars: Vars = {}): Template {
  return synth(vars).template;
}

/** The sentences about settings that are refused. */
export function sentences(vars: Vars): readonly string[] {
  try {
    readSettings({ ...BASE, ...vars });
  } catch (error) {
    if (error instanceof WrongSettings) return error.sentences;
    throw error;
  }
  return [];
}

/** The resources of a type, by logical id. */
export function resources(template: Template, type: string): [string, Resource][] {
  return Object.entries(template.Resources).filter(([, resource]) => resource.Type === type);
}

/** The properties of the one resource of a type whose logical id begins so. */
export function only(template: Template, type: string, id = ''): any {
  const found = resources(template, type).filter(([name]) => name.startsWith(id));
  if (found.length !== 1) throw new Error(`${found.length} resources ${type} ${id}`);
  return found[0]?.[1].Properties;
}

/** A value of a template as text: what is joined is joined, what is referred to is named. */
export function text(value: unknown): string {
  if (typeof value === 'string') return value;
  if (Array.isArray(value)) return value.map(text).join(' ');
  const [kind, inner] = Object.entries(value as object)[0] ?? [];
  if (kind === 'Fn::Join') return (inner as [string, unknown[]])[1].map(text).join('');
  if (kind === 'Ref') return `<${inner as string}>`;
  if (kind === 'Fn::GetAtt') return `<${(inner as string[]).join('.')}>`;
  if (kind === 'Fn::Select') return `<${(inner as [number, unknown])[0]} of ${text((inner as [number, unknown])[1])}>`;
  if (kind === 'Fn::Split') return `${text((inner as [string, unknown])[1])} by ${(inner as [string, unknown])[0]}`;
  return JSON.stringify(value);
}

export interface Statement {
  readonly Effect: 'Allow' | 'Deny';
  readonly Action: string[];
  readonly Resource: string[];
  readonly Condition?: Record<string, Record<string, unknown>>;
}

/** Every statement of the stack's identity policies, with the logical id of its policy. */
export function statements(template: Template): [string, Statement][] {
  return Object.entries(template.Resources).flatMap(([id, { Type, Properties }]) => {
    const inline = (Properties?.Policies ?? []).map((policy: { PolicyDocument: unknown }) => policy.PolicyDocument);
    const documents = ['AWS::IAM::Policy', 'AWS::IAM::ManagedPolicy'].includes(Type) ? [Properties.PolicyDocument] : inline;
    return documents.flatMap((document: { Statement: Record<string, unknown>[] }) =>
      document.Statement.map((each): [string, Statement] => [
        id,
        {
          Effect: each['Effect'] as 'Allow',
          Action: [each['Action']].flat() as string[],
          Resource: [each['Resource']].flat().map(text),
          Condition: each['Condition'] as Statement['Condition'],
        },
      ]),
    );
  });
}
