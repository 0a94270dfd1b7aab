// `npm run lint`: format and lint of both languages, warnings denied. The test run does exactly this first.

import { spawnSync } from 'node:child_process';

/** Each check: its name and its command. */
export const checks: [name: string, command: string, ...args: string[]][] = [
  ['rustfmt', 'cargo', 'fmt', '--all', '--check'],
  ['oxfmt', 'node_modules/.bin/oxfmt', '--check', 'src', 'test', 'bench', 'scripts'],
  ['oxlint', 'node_modules/.bin/oxlint', '--deny-warnings', 'src', 'test', 'bench', 'scripts'],
  ['tsc', 'node_modules/.bin/tsc', '--noEmit'],
  ['clippy', 'cargo', 'clippy', '--workspace', '--all-targets', '--locked', '--quiet', '--', '--deny', 'warnings'],
];

if (import.meta.main) {
  for (const [name, command, ...args] of checks) {
    const { status } = spawnSync(command, args, { stdio: 'inherit' });
    if (status === 0) continue;
    console.error(`kapsel: ${name} is not satisfied; \`npm run format\` mends what it can`);
    process.exit(1);
  }
}
