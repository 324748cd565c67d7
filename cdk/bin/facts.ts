/** `facts.ts TEMPLATE`: prints the facts of a template, one `name=value` a line. */

import { readFileSync } from 'node:fs';
import { facts } from '../lib/facts.ts';

const template = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8'));
for (const [name, value] of Object.entries(facts(template, process.env))) console.log(`${name}=${value}`);
