// What images are called and how they are listed: tags, filters, history, and the parents that go with a last child.

import { execFileSync } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { failure, TestStore } from '../registry/faulty.ts';
import { scratchDirectory } from './store.ts';

const t = suite('names');
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let store: TestStore;
let tar: string;

t.before(async () => {
  scratch = await scratchDirectory('names');
  const root = join(scratch.path, 'root');
  await mkdir(root);
  await writeFile(join(root, 'file'), 'content\n');
  tar = join(scratch.path, 'root.tar');
  execFileSync('tar', ['--create', '--file', tar, '-C', root, '.']);
});
t.after(() => scratch.remove());
t.before.each(async () => {
  store = await TestStore.make();
});
t.after.each(() => store.close());

/** Of work that fails at once. */
const refusal = (work: () => unknown, code: string) => failure((async () => work())(), code);

const names = (filters: object, all = false) =>
  store.images.list({ all, filters }).map(({ repository, tag, id }) => (repository ? `${repository}:${tag}` : id));

t('a tag is a further name, and moves to the image that is given it last', async () => {
  const first = await store.images.import(tar, { reference: 'a:1' });
  const second = await store.images.import(tar, { reference: 'a:2', changes: ['ENV B=1'] });
  assert.is(store.images.tag('a:1', 'example.com/b'), 'example.com/b:latest');
  assert.is(store.images.resolve('example.com/b')?.id, first);
  store.images.tag(second.slice(7, 20), 'example.com/b:latest');
  assert.is(store.images.resolve('example.com/b')?.id, second);
  assert.equal(store.images.inspect('a:2').RepoTags, ['a:2', 'example.com/b:latest']);
  assert.ok(Date.parse(store.images.inspect('a:2').Metadata.LastTagTime) > Date.now() - 60_000);
});

t('what is no name for an image is refused, and nothing changes', async () => {
  await store.images.import(tar, { reference: 'a:1' });
  const before = store.contents();
  for (const name of ['A', 'a:b:c', 'host:sh', `a@sha256:${'0'.repeat(64)}`, '0'.repeat(64), 'a/', '']) {
    await refusal(() => store.images.tag('a:1', name), 'REFERENCE_INVALID');
  }
  await refusal(() => store.images.tag('none', 'b'), 'IMAGE_NOT_FOUND');
  assert.equal(store.contents(), before);
});

t('filters hold all at once', async () => {
  const made = async (reference: string | undefined, label: string) => {
    await new Promise((resolve) => setTimeout(resolve, 2)); // images are made at different milliseconds
    return store.images.import(tar, { reference, changes: [`LABEL kind=${label} of=tests`] });
  };
  await made('first:1', 'a');
  const middle = await made(undefined, 'b');
  await made('last:1', 'b');
  assert.equal(names({}), ['last:1', middle, 'first:1'], 'the newest first');
  assert.equal(names({ dangling: true }), [middle]);
  assert.equal(names({ dangling: false }), ['last:1', 'first:1']);
  assert.equal(names({ labels: ['kind=b', 'of'] }), ['last:1', middle]);
  assert.equal(names({ labels: ['kind=b', 'other'] }), []);
  assert.equal(names({ before: [middle] }), ['first:1']);
  assert.equal(names({ since: ['first:1'] }), ['last:1', middle]);
  assert.equal(names({ since: ['first:1'], dangling: false }), ['last:1']);
  assert.equal(names({ until: store.images.inspect('last:1').Created }), [middle, 'first:1']);
  assert.equal(names({ references: ['fir*', 'la*:2'] }), ['first:1']);
  await refusal(() => names({ before: ['none'] }), 'IMAGE_NOT_FOUND');
});

t('history names each layer with its size, the last step first', async () => {
  const id = await store.images.import(tar, { reference: 'a:1', message: 'from a tar' });
  const [step, ...others] = store.images.history('a:1');
  assert.equal(others, []);
  assert.is(step?.id, id);
  assert.is(step?.comment, 'from a tar');
  assert.is(step?.diffId, store.images.inspect('a:1').RootFS.Layers[0]);
  assert.is(step?.size, store.images.inspect('a:1').Size);
});

t('history that does not fit the layers explains none of them', async () => {
  const id = await store.images.import(tar, { reference: 'a:1' });
  const row = store.database.image(id);
  const config = { ...(row.config as object), history: [{ created_by: 'one' }, { created_by: 'two' }] };
  const other = `sha256:${'1'.repeat(64)}`;
  store.database.insertImage({ ...row, id: other, config, references: [] });
  assert.equal(
    store.images.history(other).map(({ createdBy, diffId }) => [createdBy, diffId]),
    [['', row.diffIds[0]]],
  );
});

t('a parent without a name is shown only with all, and goes with its last child', async () => {
  const parent = await store.images.import(tar, {});
  const row = store.database.image(parent);
  const child = (digit: string) => `sha256:${digit.repeat(64)}`;
  for (const digit of ['1', '2']) {
    store.database.insertImage({
      ...row,
      id: child(digit),
      references: [`docker.io/library/c:${digit}`],
      parentId: parent,
    });
  }
  assert.equal(names({}), ['c:1', 'c:2']);
  assert.equal(names({}, true).length, 3);
  assert.equal(await store.images.remove('c:1'), [{ untagged: 'c:1' }, { deleted: child('1') }]);
  assert.ok(store.images.resolve(parent), 'the other child needs it');
  assert.equal(await store.images.remove('c:2', { noPrune: true }), [{ untagged: 'c:2' }, { deleted: child('2') }]);
  assert.ok(store.images.resolve(parent));
  store.database.insertImage({ ...row, id: child('3'), references: ['docker.io/library/c:3'], parentId: parent });
  assert.equal(await store.images.remove('c:3'), [{ untagged: 'c:3' }, { deleted: child('3') }, { deleted: parent }]);
  assert.equal(store.contents(), []);
});

t.run();
