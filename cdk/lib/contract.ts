/**
 * The settings' names, kinds, values and defaults, as `contract/settings.json` states them for the
 * gateway and the stack alike; and what a value has to be to fit.
 */

import { readFileSync } from 'node:fs';

/** One setting of the contract. */
export interface Rule {
  readonly name: string;
  /** `gateway` reads it at run time, `stack` at synth, `scripts` in `scripts/`. */
  readonly readers: readonly ('gateway' | 'stack' | 'scripts')[];
  readonly kind: 'choice' | 'number' | 'text' | 'list' | 'url';
  /** What holds where nothing is said; empty for nothing. */
  readonly default: string;
  /** Of a choice. */
  readonly values?: readonly string[];
  /** Of a number. */
  readonly min?: number;
  readonly max?: number;
  /** A number that need not be whole. */
  readonly fraction?: boolean;
  /** Of a text, and of every item of a list. */
  readonly pattern?: string;
  /** The pattern in words. */
  readonly form?: string;
  /** `false`: it does not stand in `template.env`. */
  readonly template?: boolean;
}

/** What was set, by name: `process.env` in `bin/`. */
export type Vars = Readonly<Record<string, string | undefined>>;

const FILE = new URL('../../contract/settings.json', import.meta.url);

/** Every setting, in the contract's order. */
export const RULES: readonly Rule[] = (JSON.parse(readFileSync(FILE, 'utf8')) as { settings: Rule[] }).settings;

/** Checked values by name: what was set, else the default. */
export class Values {
  /** One sentence for each wrong value. */
  readonly wrong: string[] = [];
  private readonly values = new Map<string, string>();
  private readonly given = new Map<string, string>();

  constructor(vars: Vars) {
    for (const rule of RULES.filter((rule) => rule.readers.includes('stack'))) {
      const text = vars[rule.name]?.trim() ?? '';
      const value = rule.kind === 'choice' ? text.toLowerCase() : text;
      const wrong = value === '' ? undefined : misfit(rule, value);
      if (wrong) this.wrong.push(wrong);
      if (value !== '') this.given.set(rule.name, value);
      this.values.set(rule.name, value === '' || wrong ? rule.default : value);
    }
  }

  /** A value; `undefined` where there is none and no default. */
  text(name: string): string | undefined {
    const value = this.values.get(name);
    if (value === undefined) throw new Error(`${name} is no setting of the stack`);
    return value === '' ? undefined : value;
  }

  /** The items of a list. */
  list(name: string): string[] {
    return items(this.text(name) ?? '');
  }

  /** A number; `undefined` where there is none and no default. */
  number(name: string): number | undefined {
    const text = this.text(name);
    return text === undefined ? undefined : Number(text);
  }

  /** Whether a switch is on. */
  flag(name: string): boolean {
    return ['true', 'on'].includes(this.text(name) ?? '');
  }

  /** What the user said and the gateway reads too: it goes on to the functions. */
  forGateway(): Record<string, string> {
    const shared = RULES.filter((rule) => rule.readers.includes('gateway'));
    const said = shared.flatMap((rule) => {
      const value = this.given.get(rule.name);
      return value === undefined ? [] : [[rule.name, value] as const];
    });
    return Object.fromEntries(said);
  }
}

function items(text: string): string[] {
  return text
    .split(',')
    .map((item) => item.trim())
    .filter((item) => item !== '');
}

/** The sentence about a value that does not fit. */
function misfit(rule: Rule, value: string): string | undefined {
  const { name, kind } = rule;
  switch (kind) {
    case 'choice': {
      const values = rule.values ?? [];
      return values.includes(value) ? undefined : `${name} must be ${anyOf(values)}, not "${value}".`;
    }
    case 'number': {
      const { min = 0, max = Number.MAX_SAFE_INTEGER } = rule;
      const form = rule.fraction ? /^[0-9]*\.?[0-9]+$/ : /^[0-9]+$/;
      const fits = form.test(value) && Number(value) >= min && Number(value) <= max;
      const what = rule.fraction ? 'a number' : 'a whole number';
      return fits ? undefined : `${name} must be ${what} from ${min} to ${max}, not "${value}".`;
    }
    case 'url':
      return /^https?:\/\/[^\s]+$/.test(value) && URL.canParse(value) ? undefined : `${name} must be a URL, not "${value}".`;
    case 'text':
    case 'list': {
      if (!rule.pattern) return undefined;
      const pattern = new RegExp(rule.pattern, 'u');
      const bad = (kind === 'list' ? items(value) : [value]).find((item) => !pattern.test(item));
      return bad === undefined ? undefined : `${name} must be ${rule.form}, not "${bad}".`;
    }
  }
}

function anyOf(values: readonly string[]): string {
  const quoted = values.map((value) => `"${value}"`);
  const last = quoted.pop();
  return quoted.length === 0 ? `${last}` : `${quoted.join(', ')} or ${last}`;
}
