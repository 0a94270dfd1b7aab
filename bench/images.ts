// `npm run bench:images`: how long a pull takes, side by side with podman and docker, interleaved, from a registry on
// loopback to a tmpfs; what it takes of memory; what a container over many layers and a commit on a large image cost the
// engine. Run as root, in network and mount namespaces of its own (as the script does), with some 12 GB of memory free.
// `--rounds N` (default 3). The floors: one core inflating the layers (Node's zlib is as quick as zlib-rs), and tar
// writing them.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { loadavg, tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { TestRegistry } from '../test/harness/registry.ts';
import { layerTars, layoutOf } from './debian.ts';
import { dockerDaemon, installed } from './peers.ts';
import { changes, creations, warmPulls } from './store.ts';
import { peakOfPull } from './pull-memory.ts';

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '3' } } });
const bin = new URL('../dist/kapsel.js', import.meta.url).pathname;
const inflate = new URL('inflate.ts', import.meta.url).pathname;

/** Milliseconds. Docker's daemon stands still now and then, with nothing to do: it is not counted, nor asked again. */
const patience = 120_000;

interface Contestant {
  name: string;
  /** What is done before each round, untimed. */
  prepare: string[] | undefined;
  command: string[];
  times: number[];
}

function run([program, ...args]: string[]): number {
  const start = performance.now();
  const { status, stderr } = spawnSync(program!, args, { stdio: ['ignore', 'ignore', 'pipe'], timeout: patience });
  if (performance.now() - start > patience) return NaN;
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr.toString().slice(0, 500)}`);
  return performance.now() - start;
}

function median(times: number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)] ?? NaN;
}

function contestants(directory: string, host: string, tars: string[], docker: string | undefined): Contestant[] {
  const all: Contestant[] = [];
  const add = (name: string, command: string[], prepare?: string[]) => all.push({ name, command, prepare, times: [] });
  add('one core inflating it', [process.execPath, inflate, join(directory, 'gzip')]);
  const written = join(directory, 'written');
  const writing = `mkdir '${written}' && for tar in ${tars.join(' ')}; do tar -xf $tar -C '${written}'; done`;
  add('tar writing it', ['sh', '-c', writing], ['rm', '-rf', written]);
  for (const tag of ['gzip', 'zstd']) {
    const name = `${host}/bench:${tag}`;
    const root = join(directory, 'kapsel');
    const kapsel = [process.execPath, bin, '--root', root, '--run-root', join(directory, 'run')];
    add(`kapsel pull, ${tag}`, [...kapsel, 'pull', '--quiet', name], ['rm', '-rf', root, written]);
    add(`kapsel pull again, ${tag}`, [...kapsel, 'pull', '--quiet', name]);
    if (installed('podman')) {
      const own = ['--root', join(directory, 'podman'), '--runroot', join(directory, 'podman-run')];
      const podman = ['podman', ...own, '--storage-driver', 'overlay'];
      const pull = [...podman, 'pull', '--tls-verify=false', '--quiet', name];
      add(`podman pull, ${tag}`, pull, [...podman, 'rmi', '--all']);
    }
    // docker.io 20.10 has no zstd.
    if (docker && tag === 'gzip') {
      const client = ['docker', '--host', docker];
      const prepare = [...client, 'image', 'prune', '--all', '--force'];
      add(`docker pull, ${tag}`, [...client, 'pull', '--quiet', name], prepare);
    }
  }
  return all;
}

function table(all: readonly Contestant[]): (name: string) => number {
  const of = (name: string) => {
    const found = all.find((one) => one.name === name);
    return found ? median(found.times) : NaN;
  };
  const kapsel = of('kapsel pull, gzip');
  console.log(`\n${''.padEnd(34)}${'median, s'.padStart(10)}${'fastest'.padStart(10)}   kapsel's gzip in it`);
  for (const { name, times } of all) {
    const cells = [median(times) / 1000, Math.min(...times) / 1000].map((time) => time.toFixed(2).padStart(10));
    console.log(`${name.padEnd(34)}${cells.join('')}   ${(kapsel / median(times)).toFixed(2)}`);
  }
  return of;
}

/** A figure, and whether it is what it should be. */
function goal(name: string, value: number, most: number, unit = ''): void {
  const verdict = Number.isNaN(value)
    ? 'not measured'
    : `${value.toFixed(2)}${unit} (goal ≤ ${most}${unit}: ${value <= most ? 'reached' : 'missed'})`;
  console.log(`${name.padEnd(44)}${verdict}`);
}

// On the disk, for as long as it takes to make them the first time.
const tars = await layerTars();
const layouts = { gzip: await layoutOf(tars, 'gzip'), zstd: await layoutOf(tars, 'zstd') };
const directory = mkdtempSync(join(tmpdir(), 'kapsel-bench-images-'));
execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=90%', 'tmpfs', directory]);
execFileSync('ip', ['link', 'set', 'lo', 'up']);
process.env.KAPSEL_TEST_SCRATCH = directory;
await using cleanup = new AsyncDisposableStack();
cleanup.defer(() => rmSync(directory, { recursive: true, force: true }));
cleanup.defer(() => {
  execFileSync('umount', ['--lazy', directory]);
});
mkdirSync(join(directory, 'run'));
const registry = await TestRegistry.start();
cleanup.defer(() => registry.close());
for (const [tag, layout] of Object.entries(layouts)) {
  // Skopeo knows which blobs have the same tar in them, and would let one form stand for the other.
  await registry.push(`oci:${layout}:it`, `bench:${tag}`, ['--preserve-digests']);
}
// What is read is in memory, like what is written.
execFileSync('cp', ['-r', layouts.gzip, join(directory, 'gzip')]);
const docker = await dockerDaemon(directory, ['--mount']);
if (docker) cleanup.defer(() => docker.stop());
const all = contestants(directory, registry.host, tars, docker?.host);
const bytes = tars.reduce((sum, tar) => sum + statSync(tar).size, 0);
const load = () => loadavg()[0]!.toFixed(1);
console.log(`${(bytes / 1e6).toFixed(0)} MB in ${tars.length} layers; ${values.rounds} rounds; load ${load()} before`);
const hung = new Set<Contestant>();
for (let round = 0; round < Number(values.rounds); round++) {
  for (const one of all) {
    if (hung.has(one)) continue;
    if (one.prepare) run(one.prepare);
    const time = run(one.command);
    console.error(`${one.name}: ${(time / 1000).toFixed(2)} s`);
    if (Number.isNaN(time)) hung.add(one);
    else one.times.push(time);
  }
}
const of = table(all);
console.log(`load ${load()} after\n`);
const pull = of('kapsel pull, gzip');
goal('pull / podman', pull / of('podman pull, gzip'), 0.5);
goal('pull / docker', pull / of('docker pull, gzip'), 0.5);
goal('pull / the slower floor', pull / Math.max(of('one core inflating it'), of('tar writing it')), 1.3);
goal('zstd / gzip', of('kapsel pull, zstd') / pull, 0.5);
const roots = { root: join(directory, 'kapsel'), runRoot: join(directory, 'run') };
goal('pull again, all there, by the command', of('kapsel pull again, zstd'), 60, ' ms');
goal('pull again, all there, in the engine', median(await warmPulls(`${registry.host}/bench:zstd`, roots)), 60, ' ms');
goal('create over 100 layers, in the engine', median(await creations({ directory, ...roots })), 1, ' ms');
const { diffs, commits } = await changes(`${registry.host}/bench:zstd`, roots);
goal('diff of one file, in the engine', median(diffs), 30, ' ms');
goal('commit of one file, in the engine', median(commits), 30, ' ms');
rmSync(roots.root, { recursive: true });
const pulling = [
  bin,
  '--root',
  roots.root,
  '--run-root',
  roots.runRoot,
  'pull',
  '--quiet',
  `${registry.host}/bench:gzip`,
];
goal("a pull's memory beyond Node's own", await peakOfPull(pulling), 64, ' MiB');
