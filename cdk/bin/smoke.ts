/**
 * `smoke.ts URL AUTH MODEL REGION`: asks a deployed URL. The API key is the first line of standard input,
 * credentials as `aws configure export-credentials` prints them are the rest; neither is ever shown.
 */

import { readFileSync } from 'node:fs';
import { smoke, type Deployed } from '../lib/smoke.ts';

const [url = '', auth = '', model = '', region = ''] = process.argv.slice(2);
const [key, ...rest] = readFileSync(0, 'utf8').split('\n');
const given = rest.join('\n').trim() === '' ? undefined : JSON.parse(rest.join('\n'));
const credentials = given && {
  accessKeyId: given.AccessKeyId,
  secretAccessKey: given.SecretAccessKey,
  sessionToken: given.SessionToken,
};
const deployed: Deployed = { url, region, auth: auth as Deployed['auth'], model, key, credentials };
try {
  await smoke(deployed, (line) => console.error(`deploy: ${line}`));
} catch (error) {
  console.error(`deploy: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
