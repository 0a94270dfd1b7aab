// A disk without any room: one line says so, nothing is half made, and what gives room back works all the same.

import { execFileSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { removeCgroups } from '../harness/engine.ts';
import { tree } from '../harness/images.ts';
import { scratchDirectory } from './store.ts';

const t = suite('a full disk');
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let told: {
  full: Record<'commit' | 'import' | 'tag' | 'save', string>;
  halfMade: string[];
  damaged: object[];
  images: string[];
  roomy: string;
  free: Record<'untag' | 'remove' | 'prune', string>;
  left: string[];
};

t.before(async () => {
  scratch = await scratchDirectory('full');
  const tar = await tree(scratch.path, 'base', (root) => writeFile(join(root, 'file'), Buffer.alloc(500_000, 3)));
  const disk = join(scratch.path, 'disk');
  await mkdir(disk);
  const source = new URL('./life-on-full-disk.ts', import.meta.url).pathname;
  const script = 'mount -t tmpfs -o size=12m tmpfs "$1" && exec "$2" "$3" "$1" "$4" "$5"';
  const args = [disk, process.execPath, source, tar, scratch.path];
  const output = execFileSync('unshare', ['--mount', 'sh', '-ec', script, 'sh', ...args], { encoding: 'utf8' });
  told = JSON.parse(output) as typeof told;
});
t.after(async () => {
  await removeCgroups('/kapsel-full-disk-test');
  await scratch.remove();
});

t('what takes room says that there is none, and has changed nothing', () => {
  for (const deed of ['commit', 'import', 'tag'] as const) assert.match(told.full[deed], /^DISK_FULL: [^\n]*$/, deed);
  assert.equal(told.halfMade, []);
  assert.equal(told.images, ['base:1']);
  assert.equal(told.damaged, []);
});

t('what needs none of it works', () => assert.is(told.full.save, 'done'));

t('once there is room it works', () => assert.is(told.roomy, 'done'));

t('names, containers and images can be removed, and then there is room', () => {
  assert.equal(told.free, { untag: 'done', remove: 'done', prune: 'done' });
  assert.equal(told.left, []);
});

t.run();
