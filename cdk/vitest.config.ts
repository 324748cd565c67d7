import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['test/**/*.test.ts'],
    reporters: ['dot'],
    maxWorkers: 2,
    // A generous limit that only proves that nothing hangs.
    testTimeout: 170_000,
  },
});
