// A command of kapsel's that dies in the middle of writing what its user asked for.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync, readlinkSync } from 'node:fs';
import { join } from 'node:path';
import type { TestEngine } from './engine.ts';

const cli = new URL('../../dist/kapsel.js', import.meta.url).pathname;

/** Kills the command once it has a file open below the directory; false where it was quicker. */
export async function killedWriting(test: TestEngine, args: string[], directory: string): Promise<boolean> {
  const child = spawn(process.execPath, [cli, ...args], { env: { ...process.env, ...test.env }, stdio: 'ignore' });
  const ended = once(child, 'exit') as Promise<[number | null, string | null]>;
  const writes = () => {
    const fds = `/proc/${child.pid}/fd`;
    return readdirSync(fds).some((fd) => {
      try {
        return readlinkSync(join(fds, fd)).startsWith(directory);
      } catch {
        return false; // Closed meanwhile.
      }
    });
  };
  while (child.exitCode === null && child.signalCode === null) {
    if (writes()) child.kill('SIGKILL');
    await new Promise((resolve) => setImmediate(resolve));
  }
  return (await ended)[1] === 'SIGKILL';
}
