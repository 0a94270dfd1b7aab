// Names, lists and removal, by Docker's rules.

import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Images } from '../../src/engine/images.ts';
import { busyboxLayers, ociLayout } from '../harness/images.ts';
import { failure, TestStore } from '../registry/faulty.ts';
import { scratchDirectory } from './store.ts';

const t = suite('image names and removal');
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let store: TestStore;
let id: string;

t.before(async () => {
  scratch = await scratchDirectory('remove');
  await busyboxLayers(scratch.path);
});
t.after(() => scratch.remove());
t.before.each(async () => {
  store = await TestStore.make();
  id = await store.images.import(`${scratch.path}/files.tar`, { reference: 'debian:12' });
});
t.after.each(() => store.close());

function container(status: 'created' | 'starting'): string {
  const containerId = `${status === 'created' ? 'c' : 'd'}`.repeat(64);
  const { RootFS } = store.images.inspect(id);
  const rest = { imageId: id, image: 'debian:12', layers: RootFS.Layers, autoRemove: false, labels: {}, document: {} };
  store.database.insertContainer({ id: containerId, name: `a-${status}`, status, ...rest });
  return containerId;
}

t('an image is found by every way to write its name and its id', () => {
  for (const reference of [
    'debian:12',
    'docker.io/library/debian:12',
    'index.docker.io/debian:12',
    id,
    id.slice(7),
    id.slice(7, 15),
  ]) {
    assert.is(store.images.resolve(reference)?.id, id, reference);
  }
  for (const reference of ['debian', 'debian:11', 'example.com/debian:12', `sha256:${'0'.repeat(64)}`, 'zzz']) {
    assert.is(store.images.resolve(reference), null, reference);
  }
  assert.is(store.images.resolve('docker.io/debian:12')?.reference, 'debian:12');
  assert.is(store.images.resolve(id)?.reference, id);
});

t('a name that is none is an error, not an unknown image', async () => {
  assert.throws(() => store.images.resolve('Debian:12'), /lower case/);
  await failure(store.images.remove('../x'), 'REFERENCE_INVALID');
});

t('a name that looks like an id is a name first', async () => {
  const other = await store.images.import(`${scratch.path}/files.tar`, {
    reference: id.slice(7, 12),
    changes: ['CMD x'],
  });
  assert.is(store.images.resolve(id.slice(7, 12))?.id, other);
});

t('lists have a line for each tag, and inspect has them all', () => {
  store.database.tag('docker.io/library/debian:bookworm', id);
  store.database.tag('example.com/mine:1', id);
  assert.equal(
    store.images
      .list()
      .map(({ repository, tag }) => `${repository}:${tag}`)
      .sort(),
    ['debian:12', 'debian:bookworm', 'example.com/mine:1'],
  );
  assert.equal(store.images.inspect('debian:12').RepoTags, ['debian:12', 'debian:bookworm', 'example.com/mine:1']);
  assert.throws(() => store.images.inspect('none'), /^Error: No such image: none|No such image: none/);
});

t('an image that comes again while it is removed has all of its documents, or is not there', async () => {
  const layout = await ociLayout(`${scratch.path}/layout`, [{ layers: [`${scratch.path}/files.tar`], name: 'it' }]);
  const others = [1, 2].map(() => new Images({ root: store.root, database: store.database }));
  for (let round = 0; round < 20; round++) {
    await Promise.allSettled([
      ...others.map((images) => images.copy(`oci:${layout}:it`, 'again:1')),
      ...[0, 3 * round].map(async (after) => {
        await sleep(after);
        await store.images.remove('again:1');
      }),
    ]);
    const documents = readdirSync(`${store.root}/blobs/sha256`).map((hex) => `sha256:${hex}`);
    const wanted = store.database.images().flatMap((row) => [row.id, row.manifestDigest!]);
    assert.equal(documents.sort(), wanted.sort(), `round ${round}`);
  }
  for (const images of others) images.close();
});

t('one of two names goes, the image stays', async () => {
  store.database.tag('example.com/mine:1', id);
  assert.equal(await store.images.remove('debian:12'), [{ untagged: 'debian:12' }]);
  assert.is(store.images.resolve('example.com/mine:1')?.id, id);
});

t('the last name takes the image with it, and everything of it', async () => {
  assert.equal(await store.images.remove('debian:12'), [{ untagged: 'debian:12' }, { deleted: id }]);
  assert.equal(store.contents(), []);
  await failure(store.images.remove('debian:12'), 'IMAGE_NOT_FOUND', /^No such image: debian:12$/);
});

t('by id: refused while it has several names, all at once where forced', async () => {
  store.database.tag('example.com/mine:1', id);
  await failure(
    store.images.remove(id),
    'IMAGE_IN_USE',
    /\(must be forced\) - image is referenced in multiple repositories/,
  );
  const removed = await store.images.remove(id, { force: true });
  assert.equal(removed.at(-1), { deleted: id });
  assert.is(removed.length, 3);
  assert.equal(store.contents(), []);
});

t('a stopped container keeps its image, unless forced; its layers stay as long as it does', async () => {
  const user = container('created');
  await failure(
    store.images.remove('debian:12'),
    'IMAGE_IN_USE',
    /^conflict: unable to remove repository reference "debian:12" \(must force\) - container cccccccccccc is using its referenced image [0-9a-f]{12}$/,
  );
  await failure(
    store.images.remove(id),
    'IMAGE_IN_USE',
    /must be forced\) - image is being used by stopped container cccccccccccc$/,
  );
  await store.images.remove('debian:12', { force: true });
  assert.is(store.images.resolve(id), null);
  assert.is(store.contents().filter((name) => name.startsWith('layers/')).length, 2, 'a tree and its recipe');
  await store.images.discardLayers(store.database.removeContainer(user));
  assert.equal(store.contents(), []);
});

t('a running container keeps its image whatever is forced', async () => {
  container('starting');
  for (const reference of ['debian:12', id]) {
    await failure(
      store.images.remove(reference, { force: true }),
      'IMAGE_IN_USE',
      /cannot be forced\) - image is being used by running container dddddddddddd$/,
    );
  }
  assert.is(store.images.resolve('debian:12')?.id, id);
});

t('a name may go while a container uses the image by another', async () => {
  store.database.tag('example.com/mine:1', id);
  container('starting');
  assert.equal(await store.images.remove('example.com/mine:1'), [{ untagged: 'example.com/mine:1' }]);
});

t('images of one layer made and removed at once: whoever comes last finds all of it or none', async () => {
  const tar = `${scratch.path}/files.tar`;
  await store.images.remove('debian:12');
  const round = async (name: string) => {
    for (let turn = 0; turn < 8; turn++) {
      const made = await store.images.import(tar, { reference: name, changes: [`LABEL of=${name}-${turn}`] });
      assert.is(store.images.resolve(made)?.layers.length, 1);
      await store.images.remove(name);
    }
  };
  await Promise.all(['a', 'b', 'c', 'd'].map(round));
  assert.equal(store.contents(), []);
});

t.run();
