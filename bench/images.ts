// `npm run bench:images`: how long a pull takes, side by side with podman and docker, interleaved, from a registry on
// loopback to a tmpfs. Run as root, in network and mount namespaces of its own (as the script does). `--rounds N`
// (default 5), `--from DIR…` (default: this machine's own Debian packages below /usr/lib and /usr/share).
// The floors: one core inflating the layers, and tar writing them.

import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { ociLayout } from '../test/harness/images.ts';
import { TestRegistry } from '../test/harness/registry.ts';
import { dockerDaemon, installed } from './peers.ts';

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '5' },
    from: { type: 'string', multiple: true, default: ['/usr/lib/x86_64-linux-gnu', '/usr/lib/python3', '/usr/share'] },
  },
});
const bin = new URL('../dist/kapsel.js', import.meta.url).pathname;
const directory = mkdtempSync(join(tmpdir(), 'kapsel-bench-images-'));
execFileSync('mount', ['-t', 'tmpfs', 'tmpfs', directory]);
execFileSync('ip', ['link', 'set', 'lo', 'up']);
process.env.KAPSEL_TEST_SCRATCH = directory;

interface Contestant {
  name: string;
  /** What is done before each round, untimed. */
  prepare: string[] | undefined;
  command: string[];
  times: number[];
}

function run([program, ...args]: string[]): number {
  const start = performance.now();
  const { status, stderr } = spawnSync(program!, args, { stdio: ['ignore', 'ignore', 'pipe'], env: process.env });
  if (status !== 0) throw new Error(`${program} ${args.join(' ')}: ${stderr.toString().slice(0, 500)}`);
  return performance.now() - start;
}

function median(times: number[]): number {
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)]!;
}

/** A tar of each directory, and the image of them, gzipped and in zstd. */
async function fill(registry: TestRegistry): Promise<string[]> {
  const tars = values.from.map((from, index) => {
    const tar = join(directory, `layer${index}.tar`);
    execFileSync('tar', ['-C', '/', '--ignore-failed-read', '-cf', tar, from.slice(1)], { stdio: 'ignore' });
    return tar;
  });
  for (const compression of ['gzip', 'zstd'] as const) {
    const layout = await ociLayout(join(directory, compression), [{ layers: tars, compression, name: 'it' }]);
    await registry.push(`oci:${layout}:it`, `bench:${compression}`);
  }
  return tars;
}

function contestants(registry: TestRegistry, tars: string[], docker: string | undefined): Contestant[] {
  const all: Contestant[] = [];
  const add = (name: string, command: string[], prepare?: string[]) => all.push({ name, command, prepare, times: [] });
  const blobs = `find '${join(directory, 'gzip', 'blobs')}' -size +100k`;
  add('one core inflating it', ['sh', '-c', `for blob in $(${blobs}); do gzip -dc $blob; done > /dev/null`]);
  const written = join(directory, 'written');
  const writing = `mkdir '${written}' && for tar in ${tars.join(' ')}; do tar -xf $tar -C '${written}'; done`;
  add('tar writing it', ['sh', '-c', writing], ['rm', '-rf', written]);
  for (const tag of ['gzip', 'zstd']) {
    const name = `${registry.host}/bench:${tag}`;
    const root = join(directory, 'kapsel');
    const kapsel = [process.execPath, bin, '--root', root, '--run-root', join(directory, 'run')];
    add(`kapsel pull, ${tag}`, [...kapsel, 'pull', '--quiet', name], ['rm', '-rf', root]);
    add(`kapsel pull again, ${tag}`, [...kapsel, 'pull', '--quiet', name]);
    if (installed('podman')) {
      const own = ['--root', join(directory, 'podman'), '--runroot', join(directory, 'podman-run')];
      const podman = ['podman', ...own, '--storage-driver', 'overlay'];
      add(
        `podman pull, ${tag}`,
        [...podman, 'pull', '--tls-verify=false', '--quiet', name],
        [...podman, 'rmi', '--all'],
      );
    }
    if (docker) {
      const client = ['docker', '--host', docker];
      // docker.io 20.10 has no zstd.
      if (tag === 'gzip') {
        const prepare = [...client, 'image', 'prune', '--all', '--force'];
        add(`docker pull, ${tag}`, [...client, 'pull', '--quiet', name], prepare);
      }
    }
  }
  return all;
}

const registry = await TestRegistry.start();
const docker = await dockerDaemon(directory, ['--mount']);
try {
  mkdirSync(join(directory, 'run'));
  const tars = await fill(registry);
  const bytes = tars.reduce((sum, tar) => sum + statSync(tar).size, 0);
  const all = contestants(registry, tars, docker?.host);
  for (let round = 0; round < Number(values.rounds); round++) {
    for (const one of all) {
      if (one.prepare) run(one.prepare);
      one.times.push(run(one.command));
    }
  }
  console.log(`${(bytes / 1e6).toFixed(0)} MB in ${tars.length} layers; medians of ${values.rounds} rounds`);
  const kapsel = median(all.find(({ name }) => name === 'kapsel pull, gzip')!.times);
  for (const { name, times } of all) {
    const time = median(times);
    console.log(
      `${name.padEnd(28)} ${(time / 1000).toFixed(2).padStart(7)} s   kapsel's gzip is ${(kapsel / time).toFixed(2)} of it`,
    );
  }
} finally {
  await docker?.stop();
  await registry.close();
  execFileSync('umount', ['--lazy', directory]);
  rmSync(directory, { recursive: true, force: true });
}
