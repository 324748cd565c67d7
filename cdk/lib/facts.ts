/**
 * What `scripts/deploy` has to know about a synthesised stack before it deploys it.
 */

import { Catalog } from './catalog.ts';
import { Values, type Vars } from './contract.ts';

/** A template, as far as is looked at. */
export interface Template {
  readonly Resources: Readonly<Record<string, { readonly Type: string; readonly Properties?: any }>>;
  readonly Outputs?: Readonly<Record<string, { readonly Value?: unknown }>>;
}

/** Names and values, in the form that a shell reads. */
export type Facts = Readonly<Record<string, string>>;

/** The facts of a template that these settings made. */
export function facts(template: Template, vars: Vars): Facts {
  const values = new Values(vars);
  const catalog = new Catalog(values.text('REGION_ID') ?? '');
  const asked = values.text('DEFAULT_MODEL') ?? catalog.default;
  const models = [asked, ...values.list('ALLOWED_MODELS')].flatMap((name) => catalog.choose(name)?.model ?? []);
  const resources = Object.values(template.Resources);
  const workers = resources.map(({ Properties: has }) => has?.ScalingConfig?.MaximumConcurrency ?? 0);
  return {
    default_model: models[0] ?? '',
    models: [...new Set(models)].join(' '),
    callable: catalog.plain(asked),
    workers: `${workers.reduce((sum: number, one: number) => sum + one, 0)}`,
    idle_cost: `${template.Outputs?.['IdleCostUsd']?.Value ?? ''}`,
  };
}

