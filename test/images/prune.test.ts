// `system df` and the prunes: what df promises is what the file system gives back, and what somebody needs stays.

import { execFile } from 'node:child_process';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type TestEngine, testEngine } from '../harness/engine.ts';
import { tree } from '../harness/images.ts';
import { scratchDirectory } from './store.ts';

const execute = promisify(execFile);
const t = suite('prune');
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let test: TestEngine;
let tar: string;

t.before(async () => {
  scratch = await scratchDirectory('prune');
  tar = await tree(scratch.path, 'root', async (root) => mkdir(join(root, 'etc')));
});
t.after(() => scratch.remove());
t.before.each(async () => {
  test = await testEngine();
});
t.after.each(() => test.close());

/** In a mount namespace of its own, on a disk of its own. */
async function onDisk(mount: string): Promise<Outcome> {
  const { path, remove } = await scratchDirectory('disk');
  try {
    await mkdir(join(path, 'disk'));
    await mkdir(join(path, 'work'));
    const program = new URL('prune-on-disk.ts', import.meta.url).pathname;
    const script = `${mount} "$0/disk" && exec "$1" "$2" "$0/disk" "$0/work"`;
    const args = ['--mount', 'sh', '-ec', script, path, process.execPath, program];
    return JSON.parse((await execute('unshare', args)).stdout) as Outcome;
  } finally {
    await remove();
  }
}

interface Outcome {
  steps: { name: string; promised: number; reclaimed: number; freed: number }[];
  left: string[];
}

t('what df promises is what the file system gives back, to the byte', async () => {
  const { steps, left } = await onDisk('mount -t tmpfs -o size=100m tmpfs');
  assert.equal(
    steps.map(({ name }) => name),
    ['images', 'volumes', 'containers', 'cache', 'the rest'],
  );
  for (const { name, promised, reclaimed, freed } of steps) {
    assert.is(freed, promised, `${name}: freed, and promised by df`);
    assert.is(reclaimed, promised, `${name}: reclaimed, as prune says`);
  }
  assert.ok(steps.slice(0, 2).every(({ freed }) => freed > 50_000));
  assert.equal(left, []);
});

t('a prune takes what nobody needs, and only that', async () => {
  const { engine } = test;
  const used = await engine.images.import(tar, { reference: 'used:1', changes: ['CMD true'] });
  const unused = await engine.images.import(tar, { reference: 'unused:1', changes: ['LABEL a=b'] });
  const dangling = await engine.images.import(tar, { changes: ['LABEL c=d'] });
  const container = await engine.containers.create('used:1', { labels: { keep: 'yes' } });
  const filtered = await engine.system.prune({ filters: { labels: ['none'] } });
  assert.equal([filtered.containers, filtered.images], [[], []]);
  const early = await engine.system.prune({ filters: { until: '2001-01-01T00:00:00Z' } });
  assert.equal([early.containers, early.images], [[], []]);
  const labelled = await engine.system.prune({ filters: { withoutLabels: ['keep'] } });
  assert.equal([labelled.containers, labelled.images], [[], [{ deleted: dangling }]]);
  const all = await engine.system.prune({ kinds: ['images'], allImages: true });
  assert.equal(all.images, [{ untagged: 'unused:1' }, { deleted: unused }]);
  assert.ok(engine.images.resolve(used), 'a container needs it, if one that does not run');
  const rest = await engine.system.prune({ allImages: true });
  assert.equal(rest.containers, [container.id]);
  assert.equal(rest.images, [{ untagged: 'used:1' }, { deleted: used }]);
});

t('networks that no container is on go after the containers, and by their own labels', async () => {
  const { engine } = test;
  await engine.images.import(tar, { reference: 'a:1', changes: ['CMD true'] });
  for (const name of ['used', 'free', 'kept']) {
    await engine.networks.create(name, { labels: name === 'kept' ? { keep: 'yes' } : {} });
  }
  const container = await engine.containers.create('a:1', { network: ['used'] });
  const names = async () => (await engine.networks.list()).map(({ name }) => name);
  assert.equal((await engine.system.prune({ kinds: ['images'] })).networks, []);
  assert.equal((await engine.system.prune({ filters: { until: '2001-01-01T00:00:00Z' } })).networks, []);
  assert.equal((await engine.system.prune({ kinds: ['networks'], filters: { withoutLabels: ['keep'] } })).networks, [
    'free',
  ]);
  assert.ok((await names()).includes('used'));
  const { stdout } = await test.kapsel(['system', 'prune', '-f', '--filter', 'label!=keep']);
  assert.is(stdout.split('Total')[0], `Deleted Containers:\n${container.id}\n\nDeleted Networks:\nused\n\n`);
  assert.equal((await engine.system.prune()).networks, ['kept']);
  assert.ok((await names()).includes('bridge'));
  const asked = await test.kapsel(['system', 'prune']);
  assert.match(asked.stdout, /- all stopped containers\n {2}- all networks not used by at least one container\n/);
});

t('volumes with a name stay unless asked for, and those of containers always', async () => {
  const { engine } = test;
  await engine.images.import(tar, { reference: 'a:1', changes: ['CMD true'] });
  await engine.volumes.create({ name: 'named' });
  const { name: anonymous } = await engine.volumes.create();
  const container = await engine.containers.create('a:1', { volumes: ['mounted:/data'] });
  assert.equal((await engine.system.prune({ kinds: ['volumes'] })).volumes, [anonymous]);
  assert.equal((await engine.system.prune({ kinds: ['volumes'], allVolumes: true })).volumes, ['named']);
  await container.remove();
  assert.equal((await engine.system.prune({ kinds: ['volumes'], allVolumes: true })).volumes, ['mounted']);
});

t('nothing is removed before the question is answered', async () => {
  await test.engine.images.import(tar, {});
  for (const verb of ['image prune', 'container prune', 'volume prune', 'system prune']) {
    for (const input of ['', 'n\n', 'no way\n']) {
      const { exitCode, stdout, stderr } = await test.kapsel(verb.split(' '), { input });
      assert.is(exitCode, 1, verb);
      assert.match(stdout, /^WARNING! This will remove[^]*Are you sure you want to continue\? \[y\/N\] $/);
      assert.is(stderr, `kapsel: ${verb} has been cancelled\n`);
    }
  }
  const { exitCode, stdout } = await test.kapsel(['image', 'prune'], { input: 'y\n' });
  assert.is(exitCode, 0);
  assert.match(stdout, /Deleted Images:\ndeleted: sha256:[0-9a-f]{64}\n\nTotal reclaimed space: \d/);
});

t('df in columns, in detail, and as JSON', async () => {
  await test.engine.images.import(tar, { reference: 'a:1', changes: ['CMD true'] });
  await test.engine.containers.create('a:1', { name: 'one', volumes: ['data:/data'] });
  const { stdout } = await test.kapsel(['system', 'df']);
  assert.match(stdout, /^TYPE +TOTAL +ACTIVE +SIZE +RECLAIMABLE\nImages +1 +1 +\S+ +0B \(0%\)\nContainers +1 +0 /);
  const detail = await test.kapsel(['system', 'df', '-v']);
  for (const line of [/^a +1 +[0-9a-f]{12} .* 1$/m, /^[0-9a-f]{12} +a:1 .* one$/m, /^data +1 +\S+$/m]) {
    assert.match(detail.stdout, line);
  }
  const json = await test.kapsel(['system', 'df', '--format', 'json']);
  const rows = json.stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { Type: string; SizeBytes: number });
  assert.equal(
    rows.map(({ Type }) => Type),
    ['Images', 'Containers', 'Local Volumes', 'Cache'],
  );
  assert.is(rows[0]!.SizeBytes, (await test.engine.system.df()).images.size);
});

t.run();
