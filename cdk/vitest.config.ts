import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    reporters: ['dot'],
    maxWorkers: 2,
    // No test changes what a module keeps, and loading CDK for each file takes a quarter of the time.
    isolate: false,
    // CDK's own rules are cfn-lint's, which has a test of its own, and take half of the time.
    env: { CDK_VALIDATION: 'false' },
    // A generous limit that only proves that nothing hangs.
    testTimeout: 170_000,
  },
});
