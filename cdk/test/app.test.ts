import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { LOCAL } from '../lib/app.ts';
import { AUTHS, BASE, type Template, template, WEBSOCKET, withDirectory } from './support.ts';

const CDK = new URL('../', import.meta.url).pathname;

/** Runs `cdk` as a user does, without network: every proxy leads nowhere. */
function cdk(args: string[], vars: Record<string, string | undefined>) {
  const nowhere = 'http://127.0.0.1:9';
  const offline = { HTTP_PROXY: nowhere, HTTPS_PROXY: nowhere, CDK_DISABLE_VERSION_CHECK: '1', CDK_DISABLE_CLI_TELEMETRY: 'true' };
  const { PATH, HOME } = process.env;
  const env = { PATH, HOME, ...offline, ...vars };
  return spawnSync(join(CDK, 'node_modules/.bin/cdk'), [...args, '--no-notices'], { cwd: CDK, env, encoding: 'utf8', timeout: 120_000 });
}

/** Names of the resources; that of a deployment has a digest of what the command adds, too. */
function names(made: Template): string[] {
  return Object.keys(made.Resources).map((name) => name.replace(/(?<=Deployment[0-9A-F]{8})[0-9a-f]{32}$/, '')).sort();
}

describe('cdk synth', () => {
  test('makes the template of a REST API offline and without credentials, for a bootstrap of a known version', () => {
    withDirectory((directory) => {
      const { status, stderr } = cdk(['synth', '-q', '-o', directory], BASE);
      expect(status, stderr).toBe(0);
      const made = JSON.parse(readFileSync(join(directory, 'LlmGatewayStack.template.json'), 'utf8'));
      expect(names(made)).toEqual(names(template()));
      expect(made.Rules).toHaveProperty('CheckBootstrapVersion');
    });
  });

  test('makes that of a WebSocket API for a local endpoint, and warns in capitals where nobody is asked who he is', () => {
    const vars = { ...WEBSOCKET, ...AUTHS['none'], STACK_NAME: 'Other' };
    withDirectory((directory) => {
      const { status, stderr } = cdk(['synth', '-q', '-o', directory, '-c', `${LOCAL}=true`], { ...BASE, ...vars });
      expect(status, stderr).toBe(0);
      const made = JSON.parse(readFileSync(join(directory, 'Other.template.json'), 'utf8'));
      expect(names(made)).toEqual(names(template(vars)));
      expect(made.Rules).toBeUndefined();
      expect(stderr).toContain('ANYONE WHO KNOWS THE URL MAY CALL THIS API');
    });
  });

  test('without an image says which command pushes one, and with wrong settings says all that is wrong', () => {
    const { status, stderr } = cdk(['synth', '-q'], { API_GATEWAY_TYPE: 'websocket', DEFAULT_TEMP: '4096' });
    expect(status).toBe(1);
    expect(stderr).toContain('DEFAULT_TEMP must be a number from 0 to 1, not "4096".');
    expect(stderr).toContain('IMAGE_DIGEST is missing: no image to deploy. Run scripts/push-image ws');
    expect(stderr).not.toMatch(/^\s+at /m);
  });
});
