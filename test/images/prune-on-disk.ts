// Run by prune.test.ts in a mount namespace whose only small disk is argv[2]: fills an engine's store on it, asks df, prunes, and
// tells how many bytes the file system itself says became free. Prints what happened as JSON.

import { execFileSync } from 'node:child_process';
import {
  linkSync,
  mkdirSync,
  readdirSync,
  statfsSync,
  statSync,
  symlinkSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { Engine } from '../../src/index.ts';

const [, , disk, scratch] = process.argv as [string, string, string, string];
const root = join(disk, 'root');
const engine = new Engine({
  root,
  runRoot: join(scratch, 'run'),
  cgroupParent: '/kapsel-prune-test',
  defaultNetwork: 'none',
});

/** Bytes that others of this file system take: the database grows as it is used. */
const database = () =>
  readdirSync(root)
    .filter((name) => name.startsWith('kapsel.db'))
    .reduce((sum, name) => sum + statSync(join(root, name)).blocks * 512, 0);

const taken = () => {
  const { bsize, blocks, bfree } = statfsSync(disk);
  return (blocks - bfree) * bsize - database();
};

function tar(name: string, fill: (directory: string) => void): string {
  const directory = join(scratch, name);
  mkdirSync(directory);
  fill(directory);
  execFileSync('tar', ['--create', '--sparse', '--file', `${directory}.tar`, '-C', directory, '.']);
  return `${directory}.tar`;
}

const small = tar('small', (directory) => {
  writeFileSync(join(directory, 'file'), Buffer.alloc(10_000, 1));
  linkSync(join(directory, 'file'), join(directory, 'another name'));
  symlinkSync('file', join(directory, 'link'));
});
const large = tar('large', (directory) => {
  writeFileSync(join(directory, 'file'), Buffer.alloc(300_001, 2));
  writeFileSync(join(directory, 'hole'), 'x');
  truncateSync(join(directory, 'hole'), 50_000_000);
});

await engine.images.import(small, { reference: 'kept:1', changes: ['CMD true'] });
await engine.images.import(small, { reference: 'shares:1', changes: ['ENV A=b'] });
await engine.images.import(large, { reference: 'unused:1' });
await engine.images.import(large, { changes: ['ENV C=d'] });
const container = await engine.containers.create('kept:1', { name: 'stopped', volumes: ['/anonymous'] });
await engine.volumes.create({ name: 'named' });
writeFileSync(join(root, 'volumes', 'named', '_data', 'file'), Buffer.alloc(70_000, 3));
mkdirSync(join(root, 'partial'), { recursive: true });
writeFileSync(join(root, 'partial', 'a'.repeat(64)), Buffer.alloc(2_000_000, 4));
mkdirSync(join(root, 'layers', '.dead'));
writeFileSync(join(root, 'layers', '.dead', 'file'), Buffer.alloc(123_456, 5));

interface Step {
  name: string;
  promised: number;
  reclaimed: number;
  freed: number;
}
const steps: Step[] = [];
async function step(name: string, promised: number, work: () => Promise<{ reclaimed: number }>): Promise<void> {
  const before = taken();
  const { reclaimed } = await work();
  steps.push({ name, promised, reclaimed, freed: before - taken() });
}

const df = await engine.system.df();
await step('images', df.images.reclaimable, () => engine.system.prune({ kinds: ['images'], allImages: true }));
await step('volumes', df.volumes.reclaimable, () => engine.system.prune({ kinds: ['volumes'], allVolumes: true }));
await step('containers', df.containers.reclaimable, () => engine.system.prune({ kinds: ['containers'] }));
await step('cache', df.cache.reclaimable, () => engine.system.prune({ kinds: ['cache'] }));
const rest = await engine.system.df();
const everything =
  rest.images.reclaimable + rest.volumes.reclaimable + rest.containers.reclaimable + rest.cache.reclaimable;
await step('the rest', everything, () =>
  engine.system.prune({ kinds: ['containers', 'images', 'volumes', 'cache'], allImages: true, allVolumes: true }),
);
const left = ['layers', 'blobs/sha256', 'containers', 'volumes', 'partial', 'tmp'].flatMap((name) =>
  readdirSync(join(root, name)).map((entry) => `${name}/${entry}`),
);
await engine.close();
console.log(JSON.stringify({ steps, left, sizes: [df.images.size, df.volumes.size], container: container.name }));
