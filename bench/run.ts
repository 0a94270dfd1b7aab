// `npm run bench`: how long `/bin/true` takes in a container, side by side with the others, interleaved in one run.
// Prints medians and their ratios to the floor. `--rounds N` (default 40). Peers that are not installed are said to be
// missing; Debian's are bubblewrap, runc, crun, podman and docker.io. Run as root, in a mount namespace of its own (as
// `npm run bench` does): podman and docker mount things.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Engine } from '../src/index.ts';
import { compile, makeRootfs, median, ownRoots, removeRoots, verdict } from './ground.ts';
import { ociPeers } from './oci.ts';
import { phases } from './phases.ts';
import { dockerDaemon, installed, peers, type Peer } from './peers.ts';
import { monitorMemory } from './memory.ts';

const { values } = parseArgs({ options: { rounds: { type: 'string', default: '40' } } });
const directory = mkdtempSync(join(tmpdir(), 'kapsel-bench-'));
const rootfs = makeRootfs(directory);

/** Runs all of them in turn; the times of each in milliseconds, or why there are none. */
function measure(program: string, rounds: string, all: Peer[], env: Record<string, string>): (number[] | string)[] {
  const args = [rounds];
  for (const peer of all) args.push(...(args.length > 1 ? ['::'] : []), ...peer.command);
  const output = execFileSync(program, args, {
    encoding: 'utf8',
    env: { ...process.env, ...env },
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  return output
    .trimEnd()
    .split('\n')
    .map((line) =>
      line.startsWith('failed')
        ? line
        : line
            .trim()
            .split(' ')
            .map((time) => Number(time) / 1e6),
    );
}

function table(all: Peer[], times: (number[] | string)[]): void {
  const medians = new Map(
    all.map((peer, i) => [peer.name, typeof times[i] === 'string' ? NaN : median(times[i] as number[])]),
  );
  const of = (name: string) => medians.get(name) ?? NaN;
  console.log(
    `\n${'started: /bin/true'.padEnd(44)}${'median'.padStart(10)}${'fastest'.padStart(10)}${'× floor'.padStart(10)}`,
  );
  for (const [i, peer] of all.entries()) {
    const own = times[i] as number[] | string;
    const cells =
      typeof own === 'string'
        ? [own]
        : [median(own).toFixed(2), Math.min(...own).toFixed(2), (median(own) / of('floor')).toFixed(2)];
    console.log(peer.name.padEnd(44) + cells.map((cell) => cell.padStart(10)).join(''));
  }
  const goals: [string, number, number][] = [
    ['SDK warm / floor', of('kapsel: SDK, warm') / of('floor'), 2.5],
    ['CLI cold / node -e 0', of('kapsel: CLI, cold') / of('node -e 0'), 2.5],
    ['kapsel-runtime run / runc run', of('kapsel-runtime: run') / of('runc: run'), 0.25],
    ['kapsel-runtime run / bwrap', of('kapsel-runtime: run') / of('bwrap --unshare-all'), 1.3],
    ['kapsel-runtime exec / runc exec', of('kapsel-runtime: exec') / of('runc: exec'), 0.3],
    ['CLI cold / podman', of('kapsel: CLI, cold') / of('podman run --network none'), 0.5],
  ];
  console.log('');
  for (const [name, ratio, goal] of goals) verdict(name, ratio, goal);
}

const roots = ownRoots(directory);
const env = {
  KAPSEL_ROOT: roots.root,
  KAPSEL_RUN_ROOT: roots.runRoot,
  KAPSEL_CGROUP_PARENT: roots.cgroupParent,
  KAPSEL_DEFAULT_NETWORK: roots.defaultNetwork,
};
const engine = new Engine(roots);
await using cleanup = new AsyncDisposableStack();
cleanup.defer(() => rmSync(directory, { recursive: true, force: true }));
cleanup.defer(() => removeRoots(roots));
cleanup.defer(() => engine.close());
await engine.images.import(`${rootfs}.tar`, { reference: 'bench' });
const daemon = await dockerDaemon(directory);
if (daemon) cleanup.defer(() => daemon.stop());
const all = peers({ directory, rootfs, floor: compile(directory, 'floor'), docker: daemon?.host });
if (installed('runc')) {
  const oci = ociPeers(directory, rootfs, roots.runRoot);
  cleanup.defer(oci.stop);
  all.push(...oci.peers);
}
const measuring = compile(directory, 'measure');
console.log(`${values.rounds} rounds of ${all.length}, interleaved`);
table(all, measure(measuring, values.rounds, all, env));
const own = all.find(({ name }) => name === 'kapsel-runtime: run');
if (own) {
  const trace = join(directory, 'trace');
  const [totals = []] = measure(measuring, values.rounds, [own], { KAPSEL_TRACE: trace });
  if (typeof totals !== 'string') phases(trace, totals);
}
const memory = await monitorMemory(engine);
console.log(
  `${"the monitor's RSS, MB".padEnd(44)}${memory.rss.toFixed(2)} (goal ≤ 1.5: ${memory.rss <= 1.5 ? 'reached' : 'missed'}; private ${memory.private.toFixed(2)})`,
);
