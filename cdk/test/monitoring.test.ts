import { existsSync, readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { DOORS, NAMESPACE } from '../lib/monitoring.ts';
import { only, resources, template, text, WEBSOCKET } from './support.ts';

const ROOT = new URL('../../', import.meta.url);
const read = (path: string) => readFileSync(new URL(path, ROOT), 'utf8');
const ON = { MONITORING: 'on', ALARM_EMAIL: 'ops@example.com' };
const FULL = { ...ON, JOBS: 'on', FUNCTION_URL: 'on' };

/** The metrics that the gateway writes, by its own table. */
function emitted(): Set<string> {
  const table = /const METRICS[^=]*= \[(.*?)\];/s.exec(read('lambda/gateway/src/telemetry/emf.rs'))?.[1] ?? '';
  return new Set([...table.matchAll(/\("([a-z_]+)", "[A-Za-z]+"\)/g)].map(([, name]) => name ?? ''));
}

/** The alarms: logical id to what they look at. */
function alarms(vars: Record<string, string>): Map<string, { Metrics?: object[]; AlarmDescription: string; AlarmActions?: unknown[] }> {
  return new Map(resources(template(vars), 'AWS::CloudWatch::Alarm').map(([id, { Properties }]) => [id, Properties]));
}

describe('alarms', () => {
  test('look at metrics that the gateway writes, by doors that it has', () => {
    const names = emitted();
    expect(names.size).toBeGreaterThan(10);
    const doors = ['rest', 'function_url', 'jobs', 'sendmessage', 'invoke_model', 'chatbot'].map((file) => read(`lambda/gateway/src/edge/${file}.rs`)).join();
    for (const type of ['rest', 'websocket'] as const) {
      for (const door of DOORS[type]) expect(doors, door).toContain(`"${door}"`);
    }
    const own = [FULL, { ...ON, ...WEBSOCKET }].flatMap((vars) => [...alarms(vars).values()].flatMap((alarm) => alarm.Metrics ?? []));
    const metrics = own.flatMap((each: { MetricStat?: { Metric: { Namespace: string; MetricName: string; Dimensions: object[] } } }) =>
      each.MetricStat?.Metric.Namespace === NAMESPACE ? [each.MetricStat.Metric] : [],
    );
    expect(metrics.length).toBeGreaterThan(10);
    for (const metric of metrics) {
      expect(names).toContain(metric.MetricName);
      expect(metric.Dimensions).toEqual([{ Name: 'door', Value: expect.any(String) }]);
    }
    expect(read('lambda/gateway/src/telemetry/emf.rs')).toContain(`NAMESPACE: &str = "${NAMESPACE}"`);
  });

  test('each lead to a chapter of the runbook, and each chapter has its alarm', () => {
    const linked = [FULL, { ...ON, ...WEBSOCKET }].flatMap((vars) =>
      [...alarms(vars).values()].map((alarm) => /What to do: (docs\/runbook\.md)#([a-z-]+)$/.exec(alarm.AlarmDescription)),
    );
    expect(linked.every((link) => link && existsSync(new URL(link[1] ?? '', ROOT)))).toBe(true);
    const chapters = [...read('docs/runbook.md').matchAll(/^## (.*)$/gm)].map(([, title]) => title?.toLowerCase().replaceAll(' ', '-'));
    expect([...new Set(linked.map((link) => link?.[2]))].sort()).toEqual(chapters.sort());
  });

  test('are mailed where there is an address, over a topic that only CloudWatch may write, and else only shown', () => {
    for (const alarm of alarms(FULL).values()) expect(alarm.AlarmActions).toHaveLength(1);
    expect(only(template(FULL), 'AWS::SNS::Subscription')).toMatchObject({ Protocol: 'email', Endpoint: 'ops@example.com' });
    const said = only(template(FULL), 'AWS::SNS::TopicPolicy').PolicyDocument.Statement;
    expect(said.map((each: { Effect: string }) => each.Effect).sort()).toEqual(['Allow', 'Deny']);
    const silent = alarms({ MONITORING: 'on' });
    expect(silent.size).toBeGreaterThan(5);
    for (const alarm of silent.values()) expect(alarm.AlarmActions).toBeUndefined();
  });

  test('count failures of API Gateway and of the function behind a WebSocket', () => {
    const [, alarm] = [...alarms({ ...ON, ...WEBSOCKET })].find(([id]) => id.startsWith('MonitoringApiFailures')) ?? [];
    const metrics = JSON.stringify(alarm?.Metrics);
    for (const name of ['ExecutionError', 'IntegrationError']) expect(metrics).toContain(`"MetricName":"${name}"`);
  });

  test('stay quiet where nothing is measured', () => {
    for (const [, { Properties }] of resources(template(FULL), 'AWS::CloudWatch::Alarm')) {
      expect(Properties.TreatMissingData).toBe('notBreaching');
    }
  });
});

describe('the dashboard', () => {
  test('shows traffic, errors, first tokens, tokens, cost, cache, throttles and dead letters', () => {
    const body = text(only(template(FULL), 'AWS::CloudWatch::Dashboard').DashboardBody);
    for (const metric of emitted()) expect(body, metric).toContain(metric);
    for (const title of ['Traffic', 'Errors by door', 'Time to first token', 'Tokens', 'Cost', 'Cache hits', 'Throttles', 'dead letters']) {
      expect(body).toContain(title);
    }
    expect(text(only(template({ ...ON, ...WEBSOCKET }), 'AWS::CloudWatch::Dashboard').DashboardBody)).toContain('MessageCount');
  });

  test('is made only where it is asked for', () => {
    expect(resources(template(), 'AWS::CloudWatch::Dashboard')).toEqual([]);
    expect(template({ MONITORING: 'on' }).Outputs['DashboardUrl']).toBeDefined();
  });
});
