/** `cdk` runs this: settings from the environment, the stack from the settings. */

import { makeApp } from '../lib/app.ts';
import { readSettings, WrongSettings } from '../lib/settings.ts';

try {
  makeApp(readSettings(process.env)).app.synth();
} catch (error) {
  if (!(error instanceof WrongSettings)) throw error;
  console.error(error.sentences.join('\n'));
  process.exitCode = 1;
}
