// The OCI runtimes side by side: `run` and `exec` of /bin/true, all from one bundle.

import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { runtimePath } from '../src/native.ts';
import type { Peer } from './peers.ts';

interface Runtime {
  name: string;
  /** The program and its global flags. */
  command: string[];
}

/** A bundle as `runc spec` makes it, but for what runs and the terminal. */
function bundle(directory: string, rootfs: string, args: string[]): string {
  mkdirSync(directory);
  execFileSync('runc', ['spec'], { cwd: directory });
  const path = join(directory, 'config.json');
  const config = JSON.parse(readFileSync(path, 'utf8'));
  config.process.terminal = false;
  config.process.args = args;
  // Without CAP_SYS_RESOURCE a limit above the caller's own cannot be set.
  config.process.rlimits = [];
  config.root.path = rootfs;
  writeFileSync(path, JSON.stringify(config));
  return directory;
}

/** Their commands, and what ends the containers that `exec` needs. `state`: a tmpfs, as /run is. */
export function ociPeers(directory: string, rootfs: string, state: string): { peers: Peer[]; stop: () => void } {
  const runtimes: Runtime[] = [
    { name: 'kapsel-runtime', command: [runtimePath(), '--root', join(state, 'kapsel-runtime')] },
    { name: 'runc', command: ['runc', '--root', join(state, 'runc')] },
  ];
  const crun = ['crun', '--root', join(state, 'crun'), '--cgroup-manager', 'disabled'];
  if (existsSync('/usr/bin/crun')) runtimes.push({ name: 'crun, without cgroups', command: crun });
  const once = bundle(join(directory, 'bundle'), rootfs, ['/bin/true']);
  const peers: Peer[] = [];
  const stops: (() => void)[] = [];
  const stop = () => stops.forEach((stop) => stop());
  for (const { name, command } of runtimes) {
    const id = `bench-${process.pid}-${name.split(',')[0]}`;
    peers.push({ name: `${name}: run`, command: [...command, 'run', '--bundle', once, id] });
    // Without a cgroup it cannot join one.
    if (name.startsWith('crun')) continue;
    // A root of its own: read-only mounts of one are not to be found busy by another.
    const own = join(directory, `rootfs-${name.split(',')[0]}`);
    cpSync(rootfs, own, { recursive: true, verbatimSymlinks: true });
    const sleeping = bundle(join(directory, `sleeping-${name.split(',')[0]}`), own, ['/bin/sleep', '3600']);
    const [program, ...flags] = command as [string, ...string[]];
    execFileSync(program, [...flags, 'run', '--detach', '--bundle', sleeping, `${id}-exec`], { stdio: 'ignore' });
    stops.push(() => execFileSync(program, [...flags, 'delete', '--force', `${id}-exec`], { stdio: 'ignore' }));
    peers.push({ name: `${name}: exec`, command: [...command, 'exec', `${id}-exec`, '/bin/true'] });
  }
  return { peers, stop };
}
