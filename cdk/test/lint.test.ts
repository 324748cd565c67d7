import { spawnSync } from 'node:child_process';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { AUTHS, RETRIEVALS, template, VPC, WEBSOCKET, withDirectory } from './support.ts';

const ROOT = new URL('../../', import.meta.url).pathname;

/** `scripts/test` installs it with the other Python packages; CFN_LINT names another one. */
function cfnLint(): string {
  const target = process.env['CARGO_TARGET_DIR'] ?? join(ROOT, 'target');
  const program = process.env['CFN_LINT'] ?? join(target, 'test-venv/bin/cfn-lint');
  if (!existsSync(program)) {
    throw new Error(
      `cfn-lint is not at ${program}. Run python3 -m venv target/test-venv && ` +
        'target/test-venv/bin/pip install -r tests/requirements.txt, or set CFN_LINT.',
    );
  }
  return program;
}

/** What it says about these templates. */
function lint(files: string[]): string {
  // W3005: CDK writes down dependencies that follow from references, too.
  const { error, stdout, stderr } = spawnSync(cfnLint(), ['--ignore-checks', 'W3005', '--', ...files], { encoding: 'utf8' });
  if (error) throw error;
  return stdout + stderr;
}

const STACKS = {
  rest: { JOBS: 'on', MONITORING: 'on', ALARM_EMAIL: 'ops@example.com', WAF: 'on', FUNCTION_URL: 'on', ...RETRIEVALS['new domain'] },
  bearer: { ...AUTHS['bearer'], ALLOWED_ORIGINS: 'https://a.example.com,https://b.example.com', QUOTA_PER_MONTH: '1000' },
  vpc: { ...AUTHS['api-key+iam'], ...VPC, ...RETRIEVALS['new collection'], JOBS: 'on' },
  websocket: {
    ...WEBSOCKET,
    ...AUTHS['bearer'],
    MONITORING: 'on',
    DOMAIN_NAME: 'llm.example.com',
    CERTIFICATE_ARN: 'arn:aws:acm:us-east-1:123456789012:certificate/0a1b2c3d-0a1b-0a1b-0a1b-0a1b2c3d4e5f',
    HOSTED_ZONE_ID: 'Z0123456789ABC',
  },
  'websocket-vpc': { ...WEBSOCKET, ...AUTHS['iam'], ...VPC, ...RETRIEVALS['domain'] },
};

test('cfn-lint finds nothing wrong with the templates', () => {
  withDirectory((directory) => {
    const files = Object.entries(STACKS).map(([name, vars]) => {
      const file = join(directory, `${name}.json`);
      writeFileSync(file, JSON.stringify(template(vars), null, 1));
      return file;
    });
    expect(lint(files)).toBe('');
  });
});

test('cfn-lint finds what is wrong', () => {
  withDirectory((directory) => {
    const file = join(directory, 'broken.json');
    writeFileSync(file, JSON.stringify({ Resources: { Queue: { Type: 'AWS::SQS::Queue', Properties: { VisibilityTimeout: 'soon' } } } }));
    expect(lint([file])).toMatch(/^E\d+ .*soon/);
  });
});
