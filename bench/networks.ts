// `npm run bench:networks`: what networks cost. Starts beside docker and podman, five hundred containers on one network,
// throughput beside a bare pair and a bare DNAT, names beside aardvark-dns; everything interleaved, and as ratios.
// Run as root, in mount and network namespaces of its own (as the script does): nothing reaches the machine's network.
// `--rounds N` (default 30), `--containers N` (default 500), `--only starts,spares,many,throughput,names`,
// `--no-peers`. Debian's packages:
// docker.io, podman with netavark and aardvark-dns, iperf3, nftables.

import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { makeRootfs, ownRoots, removeRoots } from './ground.ts';
import { many } from './networks/many.ts';
import { names } from './networks/names.ts';
import { spares } from './networks/spares.ts';
import { starts } from './networks/starts.ts';
import { throughput } from './networks/throughput.ts';

// The bundle, as an installed package has it; it is built, so the compiler looks at the source instead.
const bundle = new URL('../dist/index.js', import.meta.url).href;
const { Engine } = (await import(bundle)) as typeof import('../src/index.ts');

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '30' },
    containers: { type: 'string', default: '500' },
    only: { type: 'string', default: 'starts,spares,many,throughput,names' },
    peers: { type: 'boolean', default: true },
  },
  allowNegative: true,
});
const isWanted = (part: string) => values.only.split(',').includes(part);
// Not a disk, which others keep busy too.
const directory = mkdtempSync('/dev/shm/kapsel-bench-');
execFileSync('ip', ['link', 'set', 'lo', 'up']);
const roots = ownRoots(directory);
const engine = new Engine(roots);
await using cleanup = new AsyncDisposableStack();
cleanup.defer(() => rmSync(directory, { recursive: true, force: true }));
cleanup.defer(() => removeRoots(roots));
cleanup.defer(() => engine.close());
const rootfs = makeRootfs(directory);
await engine.images.import(`${rootfs}.tar`, { reference: 'bench' });
await engine.networks.create('bench', { ipv6: true });
console.log(`load of the machine: ${readFileSync('/proc/loadavg', 'utf8').trim()}`);
const rounds = Number(values.rounds);
if (isWanted('starts')) await starts(engine, directory, rounds, values.peers);
if (isWanted('spares')) {
  await using spared = new Engine({ ...roots, spares: 4 });
  await spares(engine, spared, rounds);
}
if (isWanted('many')) await many(engine, Number(values.containers));
if (isWanted('throughput')) await throughput(engine);
if (isWanted('names')) await names(engine, directory, rounds);
console.log(`load of the machine: ${readFileSync('/proc/loadavg', 'utf8').trim()}`);
