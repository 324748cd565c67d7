/**
 * The model catalog of the gateway, read as data, so that what may be invoked is written down once.
 * The choice of a profile is the gateway's (`lambda/gateway/src/model/catalog.rs`).
 */

import { readFileSync } from 'node:fs';

/** A row of the catalog, as far as the stack cares. */
interface Row {
  readonly id: string;
  readonly api: 'converse' | 'embedding' | 'local' | 'local_embedding';
  readonly profiles: readonly string[];
  readonly on_demand: boolean;
  readonly aliases?: Readonly<Record<string, unknown>>;
  readonly price: { readonly input: number; readonly output: number };
  readonly geographic_markup?: number;
}

interface Data {
  readonly default: string;
  readonly default_embedding: string;
  readonly regions: readonly { readonly starts_with: string; readonly profiles: readonly string[] }[];
  readonly models: readonly Row[];
}

/** A model and the way to it: an inference profile's prefix, or none. */
export interface Way {
  /** The foundation model's id. */
  readonly model: string;
  /** Prefix of the inference profile (`us`, `global` …); none: the bare id. */
  readonly profile?: string;
  /** Embedding models are invoked, all others converse in a stream. */
  readonly embeds: boolean;
  /** US dollars a million tokens, by this way. */
  readonly price: { readonly input: number; readonly output: number };
}

const FILE = new URL('../../lambda/gateway/src/model/catalog.json', import.meta.url);
const DATA = JSON.parse(readFileSync(FILE, 'utf8')) as Data;

/** What the catalog says about one region. */
export class Catalog {
  private readonly served: readonly string[];
  private readonly names = new Map<string, Row>();

  constructor(region: string) {
    const fitting = DATA.regions.filter((row) => region.startsWith(row.starts_with));
    const best = fitting.sort((a, b) => b.starts_with.length - a.starts_with.length)[0];
    this.served = best?.profiles ?? [];
    for (const row of DATA.models.filter((row) => row.api === 'converse' || row.api === 'embedding')) {
      for (const name of [row.id, ...Object.keys(row.aliases ?? {})]) this.names.set(name, row);
    }
  }

  /** The model that answers where nobody says which. */
  get default(): string {
    return DATA.default;
  }

  /** The model that embeds for searches where nobody says which. */
  get defaultEmbedding(): string {
    return DATA.default_embedding;
  }

  /** Every way that this name opens; none where it is unknown or out of reach from here. */
  ways(name: string): Way[] {
    const own = this.names.get(name);
    if (own?.id === name) {
      // Whoever may ask for a model may ask for it through any of its profiles.
      const profiles = this.served.filter((profile) => own.profiles.includes(profile));
      return [...(own.on_demand ? [way(own)] : []), ...profiles.map((profile) => way(own, profile))];
    }
    const chosen = this.choose(name);
    return chosen ? [chosen] : [];
  }

  /** What a request for this name invokes. */
  choose(name: string): Way | undefined {
    const own = this.names.get(name);
    if (own) {
      if (own.on_demand) return way(own);
      const profile = this.served.find((profile) => own.profiles.includes(profile));
      return profile ? way(own, profile) : undefined;
    }
    const dot = name.indexOf('.');
    const prefix = name.slice(0, Math.max(dot, 0));
    const row = this.names.get(name.slice(dot + 1));
    // A profile exists in the regions that it serves, and nowhere else.
    return row?.profiles.includes(prefix) && this.served.includes(prefix) ? way(row, prefix) : undefined;
  }

  /** A name of the same model for a URL: without a colon if there is one, because clients sign a colon in different ways. */
  plain(name: string): string {
    const row = this.names.get(name);
    const names = row?.id === name ? [name, ...Object.keys(row.aliases ?? {})] : [name];
    return names.find((one) => !one.includes(':')) ?? name;
  }

  /** The ids of all models that can be reached from here. */
  ids(): string[] {
    const rows = new Set(this.names.values());
    return [...rows].map((row) => row.id).filter((id) => this.ways(id).length > 0);
  }
}

function way(row: Row, profile?: string): Way {
  const markup = profile && profile !== 'global' ? (row.geographic_markup ?? 1) : 1;
  const price = { input: row.price.input * markup, output: row.price.output * markup };
  return { model: row.id, profile, embeds: row.api === 'embedding', price };
}
