// What the engine says of itself, its machine and its user: `kapsel info` and `kapsel version`.

import { readFileSync } from 'node:fs';
import { arch, release, totalmem, type } from 'node:os';

import { close, memfd, reap, runtimePath, spawn } from '../native.ts';
import type { Engine } from './engine.ts';
import { isRootless } from './containers/ground.ts';
import { complaintOf, runtimeEnvironment } from './containers/monitor.ts';
import { reconcile } from './containers/reap.ts';
import { KapselError } from './errors.ts';

export interface EngineVersion {
  kapsel: string;
  node: string;
  kernel: string;
  /** `linux/x64` */
  platform: string;
}

export interface EngineInfo {
  containers: { all: number; running: number; paused: number; stopped: number };
  images: number;
  root: string;
  runRoot: string;
  cgroupParent: string;
  rootless: boolean;
  cpus: number;
  /** Bytes. */
  memory: number;
  version: EngineVersion;
  /** What `kapsel-runtime info` found this kernel and user to be able to do. */
  runtime: Record<string, unknown>;
}

export function version(): EngineVersion {
  // This file and its bundle both lie below the package's root, at different depths.
  for (const path of ['../package.json', '../../package.json']) {
    try {
      const manifest = JSON.parse(readFileSync(new URL(path, import.meta.url), 'utf8')) as {
        name: string;
        version: string;
      };
      if (manifest.name === 'kapsel') {
        return {
          kapsel: manifest.version,
          node: process.versions.node,
          kernel: release(),
          platform: `${type().toLowerCase()}/${arch()}`,
        };
      }
    } catch {
      // The other place has it.
    }
  }
  throw new KapselError('PACKAGE_BROKEN', 'kapsel’s package.json is missing', { hint: 'install kapsel again' });
}

export async function describeEngine(engine: Engine): Promise<EngineInfo> {
  await reconcile(engine);
  const rows = engine.database.containers();
  const count = (...statuses: string[]) => rows.filter(({ status }) => statuses.includes(status)).length;
  return {
    containers: {
      all: rows.length,
      running: count('running', 'starting'),
      paused: count('paused'),
      stopped: count('exited', 'created'),
    },
    images: engine.database.images().length,
    root: engine.root,
    runRoot: engine.runRoot,
    cgroupParent: engine.cgroupParent,
    rootless: isRootless(),
    cpus: processorsOnline().size,
    memory: totalmem(),
    version: version(),
    runtime: await runtimeInfo(),
  };
}

/** The processors this machine has online. */
export function processorsOnline(): Set<number> {
  const list = readFileSync('/sys/devices/system/cpu/online', 'utf8').trim();
  return new Set(
    list.split(',').flatMap((part) => {
      const [first = 0, last = first] = part.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, index) => first + index);
    }),
  );
}

async function runtimeInfo(): Promise<Record<string, unknown>> {
  const output = memfd('');
  const complaints = memfd('');
  try {
    const pid = spawn({
      path: runtimePath(),
      argv: ['kapsel-runtime', 'info'],
      env: runtimeEnvironment(),
      fds: [null, output, complaints],
      setsid: true,
    });
    const { exitCode } = await reap(pid);
    if (exitCode !== 0)
      throw complaintOf(complaints) ?? new KapselError('RUNTIME_FAILED', 'kapsel-runtime info failed');
    return JSON.parse(readFileSync(`/proc/self/fd/${output}`, 'utf8')) as Record<string, unknown>;
  } finally {
    close(output);
    close(complaints);
  }
}
