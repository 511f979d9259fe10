import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  resolve: {
    alias: { odradek: fileURLToPath(new URL('./src/index.ts', import.meta.url)) },
  },
  test: {
    include: ['test/**/*.test.ts'],
    setupFiles: ['test/support/pool-skips.ts'],
    testTimeout: 30_000,
    hookTimeout: 30_000,
    // Most tests wait for something most of the time; by itself vitest would leave a core free.
    maxWorkers: availableParallelism(),
  },
});
