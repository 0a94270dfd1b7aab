// A test file with a network namespace of its own: no bridge, address, rule or packet of it is ever in the machine's.

import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';

/**
 * To be called first, with the file's own URL: goes on inside, and outside ends with what came of it. `more`: what else
 * unshare(1) is to make.
 */
export function inOwnNetwork(url: string, ...more: string[]): void {
  if (process.env.KAPSEL_TEST_NETWORK !== undefined) {
    spawnSync('ip', ['link', 'set', 'lo', 'up']);
    return;
  }
  const { status } = spawnSync('unshare', ['--net', ...more, process.execPath, fileURLToPath(url)], {
    stdio: 'inherit',
    env: { ...process.env, KAPSEL_TEST_NETWORK: 'own' },
  });
  process.exit(status ?? 1);
}
