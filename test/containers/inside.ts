// What the tests of containers have in common: an image of the host's own programs, and a shell in it.

import type { RunOptions, RunResult } from '../../src/index.ts';
import type { TestEngine } from '../harness/engine.ts';

export const image = 'host:bash,cat,env,grep,head,id,ls,readlink,sleep,stat,stty,touch';

/** Runs a bash script in a new container and gives what there was. */
export function shell(test: TestEngine, script: string, options: RunOptions = {}): Promise<RunResult> {
  return test.engine.containers.run(image, { command: ['bash', '-c', script], ...options });
}

/** What the script printed; a script that fails, or complains, fails the test. */
export async function inside(test: TestEngine, script: string, options: RunOptions = {}): Promise<string> {
  const { exitCode, stdout, stderr } = await shell(test, `set -e; ${script}`, options);
  if (exitCode !== 0 || stderr !== '') throw new Error(`exit ${exitCode}: ${stderr || stdout}`);
  return stdout.trim();
}

/** Everything an iterable gives. */
export async function all<T>(iterable: AsyncIterable<T>): Promise<T[]> {
  const values: T[] = [];
  for await (const value of iterable) values.push(value);
  return values;
}
