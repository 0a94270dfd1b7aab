// `commit`, `diff` and `export` of a container, and `image diff` and `image tree` of what comes of it.

import { execFileSync } from 'node:child_process';
import { randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { setTimeout } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Container } from '../../src/index.ts';
import { type TestEngine, testEngine } from '../harness/engine.ts';
import { busyboxFacts, busyboxLayers, ociLayout } from '../harness/images.ts';
import { failure } from '../registry/faulty.ts';
import { scratchDirectory } from './store.ts';

const t = suite('commit');
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let test: TestEngine;
let container: Container;

t.before(async () => {
  scratch = await scratchDirectory('commit');
  const layout = join(scratch.path, 'layout');
  await ociLayout(layout, [{ layers: await busyboxLayers(scratch.path), config: busyboxFacts.config, name: 'it' }]);
  test = await testEngine();
  await test.engine.images.copy(`oci:${layout}:it`, 'base:1');
  container = await test.engine.containers.start('base:1', {
    name: 'changing',
    command: ['sh', '-c', 'echo new > /data/new; rm /data/kept; echo more >> /data/opaque/above; sleep 1000'],
    env: ['MINE=1'],
    labels: { of: 'tests' },
    volumes: ['/anonymous'],
  });
  // Until it has written all of it.
  while (!(await container.exec({ command: ['cat', '/data/opaque/above'] })).stdout.includes('more')) {
    await setTimeout(20);
  }
});
t.after(async () => {
  await test.close();
  await scratch.remove();
});

t('diff says what was added, changed and deleted', async () => {
  const changes = await container.diff();
  const lines = changes.map(({ kind, path }) => `${kind} ${path}`);
  for (const line of ['A /data/new', 'D /data/kept', 'C /data/opaque/above', 'C /data', 'C /data/opaque']) {
    assert.ok(lines.includes(line), `${line} in ${lines.join('; ')}`);
  }
  const { stdout } = await test.kapsel(['diff', 'changing']);
  assert.is(stdout, lines.map((line) => `${line}\n`).join(''));
});

t('a commit is the image with one more layer, and goes on running', async () => {
  const id = await container.commit({
    reference: 'committed:1',
    author: 'somebody',
    message: 'for the tests',
    changes: ['CMD ["cat", "/data/new"]', 'LABEL more=1'],
  });
  const { images, containers } = test.engine;
  const [base, image] = [images.inspect('base:1'), images.inspect('committed:1')];
  assert.is(image.Id, id);
  assert.is(image.Parent, base.Id);
  assert.is(image.Author, 'somebody');
  assert.is(image.Comment, 'for the tests');
  assert.equal(image.RootFS.Layers.slice(0, -1), base.RootFS.Layers);
  assert.equal(image.Config.Cmd, ['cat', '/data/new']);
  assert.equal(image.Config.Labels, { ...busyboxFacts.config.Labels, of: 'tests', more: '1' });
  const env = image.Config.Env ?? [];
  assert.ok(env.includes('MINE=1') && env.includes('GREETING=hello'));
  assert.not.ok(env.some((line) => line.startsWith('HOSTNAME=')));
  assert.equal(image.Config.Volumes, { '/anonymous': {} });
  const [last] = images.history('committed:1');
  assert.match(last?.createdBy ?? '', /^sh -c echo new/);
  assert.ok(last!.size > 0);
  const { stdout } = await containers.run('committed:1');
  assert.is(stdout, 'new\n');
  const look = await containers.run('committed:1', { command: ['sh', '-c', 'ls /data; cat /data/opaque/above'] });
  assert.is(look.stdout, 'new\nopaque\nabove\nmore\n');
  assert.is((await container.inspect()).State.Status, 'running');
});

t('one that was never started has an empty layer; one that was paused stays so', async () => {
  const idle = await test.engine.containers.create('base:1');
  assert.equal(await idle.diff(), []);
  await idle.commit({ reference: 'idle:1' });
  assert.is((await test.engine.containers.run('idle:1', { command: ['cat', '/data/kept'] })).stdout, 'kept\n');
  await container.pause();
  try {
    await container.commit({ reference: 'paused:1' });
    assert.is((await container.inspect()).State.Status, 'paused');
  } finally {
    await container.unpause();
  }
});

t('a commit that fails lets the container run, and leaves nothing', async () => {
  const before = await test.census();
  const images = test.engine.images.list().length;
  await failure(container.commit({ reference: 'Wrong' }), 'REFERENCE_INVALID');
  await failure(container.commit({ changes: ['RUN true'] }), 'CHANGE_INVALID');
  assert.is((await container.inspect()).State.Status, 'running');
  assert.is(test.engine.images.list().length, images);
  assert.equal(await test.census(), before);
});

t('export is the whole tree, and import takes it', async () => {
  const path = join(scratch.path, 'export.tar');
  await container.export((tar) => pipeline(Readable.from(tar), createWriteStream(path)));
  const names = execFileSync('tar', ['--list', '--file', path], { encoding: 'utf8' }).split('\n');
  const has = (name: string) => names.some((one) => one.replace(/^\.\//, '') === name);
  assert.ok(has('data/new') && has('bin/sh'));
  assert.not.ok(names.some((name) => name.includes('.wh.') || name.endsWith('data/kept')));
  const { stdout } = await test.kapsel(['import', '-c', 'CMD ["cat", "/data/new"]', path, 'again:1']);
  assert.match(stdout, /^sha256:/);
  assert.is((await test.engine.containers.run('again:1')).stdout, 'new\n');
  const toFile = await test.kapsel(['export', '-o', join(scratch.path, 'two.tar'), 'changing']);
  assert.is(toFile.exitCode, 0, toFile.stderr);
  execFileSync('cmp', [path, join(scratch.path, 'two.tar')]);
});

t('what a container swaps for links out of it while it is exported and committed is not followed', async () => {
  // CVE-2018-15664: looked at as a directory or a file, and a link to the host's when it is opened.
  const [outside, secret] = [join(scratch.path, 'outside'), randomUUID()];
  // As long: no more is read than was announced.
  const mine = secret.replaceAll(/[^-]/g, 'x');
  const names = Array.from({ length: 20 }, (_, at) => `${at}`);
  await mkdir(outside);
  for (const name of names) await writeFile(join(outside, name), secret);
  const swap = (name: string, target: string) =>
    `busybox mv ${name} aside; busybox ln -s ${target} ${name}; busybox rm ${name}; busybox mv aside ${name}`;
  const script = `cd /data; busybox mkdir tree; for n in ${names.join(' ')}; do echo ${mine} > tree/$n; done; echo ${mine} > file
    echo ready; while :; do ${swap('tree', outside)}; ${swap('file', `${outside}/1`)}; done`;
  const swapping = await test.engine.containers.start('base:1', { command: ['sh', '-c', script] });
  try {
    while (!(await test.kapsel(['logs', swapping.id])).stdout.includes('ready')) await setTimeout(20);
    for (let round = 0; round < 20; round++) {
      const chunks: Uint8Array[] = [];
      await swapping.export(async (tar) => {
        for await (const chunk of tar) chunks.push(chunk);
      });
      assert.not.ok(Buffer.concat(chunks).includes(secret), `round ${round}`);
    }
    await swapping.commit({ reference: 'swapped:1' });
    const { stdout } = await test.engine.containers.run('swapped:1', {
      command: ['sh', '-c', 'cat /data/tree/* /data/aside/* /data/file /data/aside 2>/dev/null; true'],
    });
    assert.match(stdout, /^([x-]*\n)*$/);
  } finally {
    await swapping.remove({ force: true });
  }
});

t('with SOURCE_DATE_EPOCH the same changes are the same image, and the same tar', async () => {
  const env = { SOURCE_DATE_EPOCH: '1700000000' };
  const twin = await test.engine.containers.create('base:1', { command: ['sh', '-c', 'echo twin > /data/twin'] });
  const ids: string[] = [];
  const tars: string[] = [];
  for (const round of [1, 2]) {
    await twin.start(); // Writes its file again, later.
    await twin.wait();
    const { stdout, stderr } = await test.kapsel(['commit', twin.id, `epoch:${round}`], { env });
    assert.is(stderr, '');
    ids.push(stdout);
    tars.push(join(scratch.path, `epoch${round}.tar`));
    assert.is((await test.kapsel(['export', '-o', tars.at(-1)!, twin.id], { env })).exitCode, 0);
  }
  assert.is(ids[0], ids[1]);
  execFileSync('cmp', tars);
  assert.is(test.engine.images.inspect('epoch:1').Created, '2023-11-14T22:13:20Z');
  assert.is(test.engine.images.history('epoch:1')[0]!.created, '2023-11-14T22:13:20Z');
  const listing = execFileSync('tar', ['--list', '--verbose', '--utc', '--file', tars[0]!], { encoding: 'utf8' });
  assert.match(listing, / 2023-11-14 22:13 (\.\/)?data\/twin\n/);
  const other = await test.kapsel(['commit', twin.id], { env: { SOURCE_DATE_EPOCH: '1700000001' } });
  assert.not.ok(ids.includes(other.stdout));
  const imported = [1, 2].map(() => test.kapsel(['import', tars[0]!], { env }));
  assert.is((await imported[0])!.stdout, (await imported[1])!.stdout);
  const wrong = await test.kapsel(['commit', twin.id], { env: { SOURCE_DATE_EPOCH: 'yesterday' } });
  assert.is(wrong.exitCode, 1);
  assert.match(wrong.stderr, /^kapsel: SOURCE_DATE_EPOCH is "yesterday": give whole seconds since 1970[^\n]*\n$/);
  await twin.remove();
});

t('image diff and image tree', async () => {
  await container.commit({ reference: 'compared:1' });
  const differences = await test.engine.images.diff('base:1', 'compared:1');
  const line = (path: string) => differences.find((one) => one.path === path);
  assert.equal(line('/data/new'), { kind: 'A', path: '/data/new', type: 'file', what: [], before: null, after: 4 });
  assert.equal(line('/data/kept'), { kind: 'D', path: '/data/kept', type: 'file', what: [], before: 5, after: null });
  assert.equal(line('/data/opaque/above'), {
    kind: 'C',
    path: '/data/opaque/above',
    type: 'file',
    what: ['content'],
    before: 6,
    after: 11,
  });
  assert.not.ok(line('/bin/sh'));
  assert.equal(await test.engine.images.diff('base:1', 'base:1'), []);
  const { stdout } = await test.kapsel(['image', 'diff', 'base:1', 'compared:1']);
  assert.match(stdout, /^A \/data\/new {2}4B$/m);
  assert.match(stdout, /^C \/data\/opaque\/above {2}6B → 11B$/m);
  assert.not.match(stdout, /\/data$/m);
  const timely = await test.kapsel(['image', 'diff', '--times', 'base:1', 'compared:1']);
  assert.match(timely.stdout, /^C \/data {2}\(time\)$/m);
  const tree = test.engine.images.tree('compared:1');
  assert.equal(
    tree.layers.map(({ diffId }) => diffId),
    test.engine.images.inspect('compared:1').RootFS.Layers,
  );
  assert.ok(tree.layers[0]!.sharedBy.includes('base:1'));
  assert.not.ok(tree.layers.at(-1)!.sharedBy.includes('base:1'));
  const shown = await test.kapsel(['image', 'tree', 'compared:1']);
  assert.match(shown.stdout, /^compared:1 \([0-9a-f]{12}, \S+\)\n├── [0-9a-f]{12}.*base:1.*\n(├──.*\n)+└── /);
});

t.run();
