// `system check`: whatever changes on the disk is found, `--repair` takes it away with what needs it, and a pull brings it back.

import { readdirSync } from 'node:fs';
import { readFile, rm, truncate, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type TestEngine, testEngine } from '../harness/engine.ts';
import { busyboxFacts, busyboxLayers, ociLayout } from '../harness/images.ts';
import { scratchDirectory } from './store.ts';

const t = suite('check');
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let test: TestEngine;
let layout: string;

t.before(async () => {
  scratch = await scratchDirectory('check');
  layout = join(scratch.path, 'layout');
  await ociLayout(layout, [{ layers: await busyboxLayers(scratch.path), config: busyboxFacts.config, name: 'it' }]);
});
t.after(() => scratch.remove());
t.before.each(async () => {
  test = await testEngine();
  await load();
});
t.after.each(() => test.close());

const load = () => test.engine.images.copy(`oci:${layout}:it`, 'it:1');
const layers = () => test.engine.images.inspect('it:1').RootFS.Layers;
const hex = (digest: string) => digest.slice('sha256:'.length);
const treeOf = (diffId: string) => join(test.root, 'layers', hex(diffId));

async function flip(path: string): Promise<void> {
  const bytes = await readFile(path);
  bytes[bytes.length >> 1]! ^= 1;
  await writeFile(path, bytes);
}

/** Damages something and sees it found, repaired and brought back. */
function finds(
  name: string,
  what: 'layer' | 'config' | 'manifest',
  damage: () => Promise<unknown>,
  words: RegExp,
): void {
  t(name, async () => {
    const { system, images } = test.engine;
    assert.equal((await system.check()).damaged, []);
    await damage();
    const { damaged } = await system.check();
    assert.is(damaged.length, 1);
    assert.is(damaged[0]!.what, what);
    assert.match(damaged[0]!.reason, words);
    assert.equal(damaged[0]!.images, [images.list()[0]!.id]);
    assert.not.ok(damaged[0]!.repaired);
    assert.is((await test.kapsel(['system', 'check'])).exitCode, 1);
    const repaired = await test.kapsel(['system', 'check', '--repair']);
    assert.is(repaired.exitCode, 0, repaired.stderr);
    assert.match(repaired.stdout, new RegExp(`^Removed ${what} sha256:`));
    assert.equal(images.list(), []);
    assert.equal(readdirSync(join(test.root, 'layers')), []);
    assert.equal(readdirSync(join(test.root, 'blobs', 'sha256')), []);
    await load();
    assert.equal((await system.check()).damaged, []);
  });
}

finds('a bit of a file', 'layer', () => flip(join(treeOf(layers()[0]!), 'bin', 'busybox')), /./);
finds('a file that is shorter', 'layer', () => truncate(join(treeOf(layers()[0]!), 'bin', 'busybox'), 1000), /./);
finds('a file that is not there', 'layer', () => rm(join(treeOf(layers()[1]!), 'data', 'kept')), /./);
finds('a tree that is not there', 'layer', () => rm(treeOf(layers()[2]!), { recursive: true }), /tree is not there/);
finds('a recipe that is not there', 'layer', () => rm(`${treeOf(layers()[1]!)}.recipe`), /recipe is not there/);
finds('a bit of a recipe', 'layer', () => flip(`${treeOf(layers()[1]!)}.recipe`), /./);
const blob = (digest: string) => join(test.root, 'blobs', 'sha256', hex(digest));
finds('a bit of a config', 'config', () => flip(blob(test.engine.images.inspect('it:1').Id)), /digest/);
finds(
  'a manifest that is not there',
  'manifest',
  () => rm(blob(test.engine.database.image(test.engine.images.inspect('it:1').Id).manifestDigest!)),
  /not there/,
);

t('documents that are damaged come back with the next pull, as the error says', async () => {
  const { Id } = test.engine.images.inspect('it:1');
  await flip(blob(Id));
  await rm(blob(test.engine.database.image(Id).manifestDigest!));
  const saved = await test.kapsel(['save', '-o', join(scratch.path, 'saved.tar'), 'it:1']);
  assert.match(saved.stderr, /pull the image again|do not trust/);
  await load();
  assert.equal((await test.engine.system.check()).damaged, []);
});

t('what is removed while it is read is no damage', async () => {
  const { system, images } = test.engine;
  const steps: Promise<unknown>[] = [];
  const report = await system.check({
    onProgress: (done) => {
      if (done === 0) steps.push(images.remove('it:1'));
    },
  });
  await Promise.all(steps);
  assert.equal(report.damaged, []);
});

t('a quick look reads nothing', async () => {
  await flip(join(treeOf(layers()[0]!), 'bin', 'busybox'));
  assert.equal((await test.engine.system.check({ quick: true })).damaged, []);
  assert.is((await test.engine.system.check()).damaged.length, 1);
});

t('what a container stands on goes only with force', async () => {
  const { system, containers, images } = test.engine;
  const { id } = await containers.create('it:1', { name: 'standing' });
  await flip(join(treeOf(layers()[0]!), 'bin', 'busybox'));
  const [kept] = (await system.check({ repair: true })).damaged;
  assert.equal([kept?.containers, kept?.repaired], [[id], false]);
  assert.ok(images.resolve('it:1'));
  const [gone] = (await system.check({ repair: true, force: true })).damaged;
  assert.is(gone?.repaired, true);
  assert.equal([images.list(), await containers.list({ all: true })], [[], []]);
  assert.equal(readdirSync(join(test.root, 'layers')), []);
});

t.run();
