// What the measurements stand on: a root file system of one static program, an engine with roots of its own, and medians.

import { execFileSync } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync, rmdirSync, symlinkSync } from 'node:fs';
import { join } from 'node:path';

const here = new URL('.', import.meta.url).pathname;

/** A root file system of one static program, the same for everybody, and its tar beside it. */
export function makeRootfs(directory: string): string {
  const rootfs = join(directory, 'rootfs');
  for (const path of ['bin', 'proc', 'sys', 'dev', 'tmp', 'etc']) mkdirSync(join(rootfs, path), { recursive: true });
  copyFileSync('/bin/busybox', join(rootfs, 'bin/busybox'));
  for (const name of ['true', 'sh', 'sleep']) symlinkSync('busybox', join(rootfs, 'bin', name));
  execFileSync('tar', ['-C', rootfs, '-cf', `${rootfs}.tar`, '.']);
  return rootfs;
}

/** A program of this directory. */
export function compile(directory: string, name: string): string {
  const program = join(directory, name);
  execFileSync('cc', ['-O2', '-o', program, join(here, `${name}.c`)]);
  return program;
}

export interface Roots {
  root: string;
  runRoot: string;
  cgroupParent: string;
  defaultNetwork: string;
}

export function ownRoots(directory: string): Roots {
  return {
    root: join(directory, 'root'),
    // A tmpfs, as /run is on every distribution.
    runRoot: mkdtempSync('/dev/shm/kapsel-bench-run-'),
    cgroupParent: `/kapsel-bench-${process.pid}`,
    // As the others are run; what a network costs is measured for itself.
    defaultNetwork: 'none',
  };
}

/** When the engine is closed. */
export function removeRoots({ runRoot, cgroupParent }: Roots): void {
  for (const hierarchy of readdirSync('/sys/fs/cgroup')) {
    const path = join('/sys/fs/cgroup', hierarchy, cgroupParent);
    if (existsSync(path)) rmdirSync(path);
  }
  rmSync(runRoot, { recursive: true, force: true });
}

export function median(times: readonly number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] as number;
}

/** What was reached of a goal; not a number: not measured. */
export function verdict(name: string, ratio: number, goal: number, isAtLeast = false): void {
  const reached = isAtLeast ? ratio >= goal : ratio <= goal;
  const sign = isAtLeast ? '≥' : '≤';
  const words = Number.isNaN(ratio)
    ? 'not measured'
    : `${ratio.toFixed(2)} (goal ${sign} ${goal}: ${reached ? 'reached' : 'missed'})`;
  console.log(`${name.padEnd(44)}${words}`);
}
