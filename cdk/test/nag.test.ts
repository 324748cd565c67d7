import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Validations } from 'aws-cdk-lib';
import { AwsSolutionsChecks } from 'cdk-nag';
import { describe, expect, test } from 'vitest';
import { makeApp } from '../lib/app.ts';
import type { Vars } from '../lib/contract.ts';
import { readSettings } from '../lib/settings.ts';
import { AUTHS, BASE, RETRIEVALS, VPC, WEBSOCKET, withDirectory } from './support.ts';

/** A finding that stands, where, and why. Each is needed by a stack below, or the test says so. */
interface Acknowledgement {
  readonly rule: string;
  readonly where: RegExp;
  readonly why: string;
}

const acknowledge = (rule: string, where: RegExp, why: string): Acknowledgement => ({ rule: `AwsSolutions-${rule}`, where, why });

const ACKNOWLEDGED: readonly Acknowledgement[] = [
  acknowledge('APIG3', /\/Rest\/Api\/DeploymentStage/, 'AWS WAF costs $7 a month; WAF=on adds it.'),
  acknowledge('APIG4', /\/Rest\/Api\/Default\/.*(ANY|POST)\/Resource$/, 'API keys are a usage plan, which this rule does not count; with none the deployment warns in capitals.'),
  acknowledge('APIG4', /\/WebSocket\/(Connect|Disconnect|Message)\/Resource$/, 'A WebSocket API asks at $connect only, by key, IAM or authorizer; a key is none that this rule counts.'),
  acknowledge('APIG6', /\/Rest\/Api\/DeploymentStage/, 'Execution logs go to a log group that outlives the stack and never expires; the access log has every request.'),
  acknowledge('COG4', /\/Rest\/Api\/Default\//, 'Callers are programs with keys or roles, no users of Cognito.'),
  acknowledge('IAM4[Policy::arn:<AWS::Partition>:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs]', /\/ApiLogs\/Role\//, 'API Gateway accepts no narrower leave: it checks for what this policy has.'),
  acknowledge('IAM5[Resource::*]', /\/(Function|Worker)\/(Role\/DefaultPolicy|NoPlacement)\/Resource$/, 'Lambda puts functions into a VPC by rights that name no resource; the functions themselves are denied them.'),
  acknowledge('IAM5[Resource::arn:aws:execute-api:us-east-1:<AWS::AccountId>:<ID>/prod/POST/@connections/*]', /\/Function\/Role\//, 'Connections come and go; the stage is named.'),
  acknowledge('IAM5[Resource::arn:aws:execute-api:us-east-1:<AWS::AccountId>:<ID>/prod/DELETE/@connections/*]', /\/Function\/Role\//, 'Connections come and go; the stage is named.'),
  acknowledge('IAM5[Resource::arn:aws:execute-api:us-east-1:<AWS::AccountId>:<ID>/prod/*/*]', /\/Callers\//, 'A caller may use every method and path of the stage.'),
  acknowledge('IAM5[Resource::<ID.Arn>/llm-gateway/*]', /\/Retrieval\/Writers\//, 'Documents are below the index.'),
  acknowledge('OS1', /\/Retrieval\/Domain\//, 'A domain that is made outside a VPC takes signed requests only.'),
  acknowledge('OS3', /\/Retrieval\/Domain\//, 'Access is by IAM role; Lambda has no fixed addresses.'),
  acknowledge('OS4', /\/Retrieval\/Domain\//, 'The smallest domain, for a start; dedicated masters cost more than all of it.'),
  acknowledge('OS5', /\/Retrieval\/Domain\//, 'The domain has no policy of its own, so nobody is let in without a signature.'),
  acknowledge('OS7', /\/Retrieval\/Domain\//, 'One node, for a start; when it is away, answers come without passages.'),
  acknowledge('OS9[LogExport::SEARCH_SLOW_LOGS]', /\/Retrieval\/Domain\//, 'Slow logs have the queries in them, which are never logged.'),
  acknowledge('OS9[LogExport::INDEX_SLOW_LOGS]', /\/Retrieval\/Domain\//, 'Slow logs have the documents in them.'),
];

const STACKS: readonly Vars[] = [
  {},
  { ...AUTHS['none'] },
  { ...AUTHS['bearer'], ...RETRIEVALS['new domain'], JOBS: 'on', FUNCTION_URL: 'on', MONITORING: 'on', ALARM_EMAIL: 'ops@example.com', WAF: 'on' },
  { ...AUTHS['api-key+iam'], ...VPC, ...RETRIEVALS['new collection'], JOBS: 'on', ALLOWED_ORIGINS: 'https://a.example.com' },
  { ...VPC, ...RETRIEVALS['new domain'] },
  WEBSOCKET,
  { ...WEBSOCKET, ...AUTHS['bearer'], ...RETRIEVALS['domain'], MONITORING: 'on' },
  { ...WEBSOCKET, ...AUTHS['iam'], ...VPC, ...RETRIEVALS['collection'] },
];

interface Report {
  readonly pluginReports: {
    readonly pluginName: string;
    readonly violations: { readonly ruleName: string; readonly violatingConstructs: { readonly constructPath: string }[] }[];
  }[];
}

/** What cdk-nag finds in a stack: rule, with logical ids as `ID`, and place. */
function findings(vars: Vars): [rule: string, place: string][] {
  return withDirectory((directory) => {
    const { app } = makeApp(readSettings({ ...BASE, ...vars }), { outdir: directory });
    Validations.of(app).addPlugins(new AwsSolutionsChecks(app));
    try {
      app.synth();
    } catch (error) {
      // With violations it is the report that is wanted.
      if (!(error instanceof Error) || error.name !== 'ValidationFailed') throw error;
    }
    const report = JSON.parse(readFileSync(join(directory, 'validation-report.json'), 'utf8')) as Report;
    const nag = report.pluginReports.filter((each) => each.pluginName === 'AwsSolutions');
    expect(nag).toHaveLength(1);
    const violations = nag.flatMap((each) => each.violations);
    return violations.flatMap(({ ruleName, violatingConstructs }) =>
      violatingConstructs.map(({ constructPath }): [string, string] => [
        ruleName.replaceAll(/<[A-Za-z]+[0-9A-F]{8}(\.Arn)?>/g, '<ID$1>'),
        constructPath,
      ]),
    );
  });
}

describe("AWS's solutions checks", () => {
  const used = new Set<Acknowledgement>();

  test.each(STACKS)('find nothing but what is acknowledged with a reason: %j', (vars) => {
    for (const [rule, place] of findings(vars)) {
      const standing = ACKNOWLEDGED.filter((each) => each.rule === rule && each.where.test(place));
      expect(standing, `${rule} at ${place}`).toHaveLength(1);
      used.add(standing[0] as Acknowledgement);
    }
  });

  test('find each thing that is acknowledged in one of these stacks', () => {
    expect(ACKNOWLEDGED.filter((each) => !used.has(each)).map((each) => `${each.rule} ${each.where}`)).toEqual([]);
  });
});
