// `import` of a root file system's tar, and Docker's --change.

import { execFileSync } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { applyChanges } from '../../src/engine/images/changes.ts';
import { busyboxLayers } from '../harness/images.ts';
import { failure, TestStore } from '../registry/faulty.ts';
import { inImage, scratchDirectory } from './store.ts';

const t = suite('import');
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let store: TestStore;
let tar: string;

t.before(async () => {
  scratch = await scratchDirectory('import');
  [tar] = (await busyboxLayers(scratch.path)) as [string];
});
t.after(() => scratch.remove());
t.before.each(async () => {
  store = await TestStore.make();
});
t.after.each(() => store.close());

t('a tar with a name and changes', async () => {
  const changes = ['CMD ["sh"]', 'ENV A=1 B="two words"', 'WORKDIR /tmp', 'USER user', 'LABEL x=y'];
  const id = await store.images.import(tar, { reference: 'rootfs:1', changes, message: 'from a tar' });
  const { Id, RepoTags, Config, Comment, Os, RootFS } = store.images.inspect('rootfs:1');
  assert.equal([Id, RepoTags, Comment, Os], [id, ['rootfs:1'], 'from a tar', 'linux']);
  assert.equal(Config, {
    Cmd: ['sh'],
    Env: ['A=1', 'B=two words'],
    WorkingDir: '/tmp',
    User: 'user',
    Labels: { x: 'y' },
  });
  assert.is(RootFS.Layers[0], `sha256:${execFileSync('sha256sum', [tar]).toString().slice(0, 64)}`);
  assert.match(await inImage(store.images.resolve('rootfs:1')!, 'cat etc/passwd'), /^root:/);
});

t('a compressed tar from a stream, without a name', async () => {
  const packed = join(scratch.path, 'packed.tar.zst');
  execFileSync('zstd', ['-q', '-f', '-o', packed, tar]);
  const id = await store.images.import(createReadStream(packed));
  assert.equal(store.images.inspect(id).RepoTags, []);
  assert.is(store.images.resolve(id.slice(7, 19))?.id, id);
});

t('the same tar twice is one layer', async () => {
  await store.images.import(tar, { reference: 'a:1' });
  await store.images.import(tar, { reference: 'a:2', changes: ['CMD sh'] });
  assert.is(store.contents().filter((name) => name.startsWith('layers/')).length, 2, 'a tree and its recipe');
  assert.is(store.images.list().length, 2);
});

t('a new image takes the name from the old one', async () => {
  const first = await store.images.import(tar, { reference: 'a' });
  const second = await store.images.import(tar, { reference: 'a', changes: ['CMD sh'] });
  assert.is(store.images.resolve('a')?.id, second);
  assert.equal(store.images.inspect(first).RepoTags, []);
});

t('what cannot be imported leaves nothing', async () => {
  const cut = join(scratch.path, 'cut.tar');
  await writeFile(cut, (await readFile(tar)).subarray(0, 700_000));
  await failure(store.images.import(cut), 'LAYER_TRUNCATED');
  await failure(store.images.import(join(scratch.path, 'missing')), 'ARCHIVE_UNREADABLE');
  await failure(store.images.import(tar, { reference: 'UPPER' }), 'REFERENCE_INVALID');
  await failure(store.images.import(tar, { reference: `a@sha256:${'0'.repeat(64)}` }), 'REFERENCE_INVALID');
  await failure(store.images.import(tar, { changes: ['RUN rm -rf /'] }), 'CHANGE_INVALID');
  await failure(store.images.import(tar, { platform: 'nonsense' + '/'.repeat(5) }), 'PLATFORM_INVALID');
  assert.equal(store.contents(), []);
});

const changes: [change: string, result: object][] = [
  ['CMD echo hi', { Cmd: ['/bin/sh', '-c', 'echo hi'] }],
  ['cmd ["echo", "hi"]', { Cmd: ['echo', 'hi'] }],
  ['CMD [ "broken"', { Cmd: ['/bin/sh', '-c', '[ "broken"'] }],
  ['ENTRYPOINT ["/init"]', { Entrypoint: ['/init'] }],
  ['ENV NAME the rest of the line', { Env: ['NAME=the rest of the line'] }],
  ["ENV A='x y' B=a\\ b C=", { Env: ['A=x y', 'B=a b', 'C='] }],
  ['LABEL "a.b"="c d" e=f', { Labels: { 'a.b': 'c d', e: 'f' } }],
  ['EXPOSE 80 53/udp', { ExposedPorts: { '80/tcp': {}, '53/udp': {} } }],
  ['VOLUME ["/a", "/b c"]', { Volumes: { '/a': {}, '/b c': {} } }],
  ['VOLUME /a /b', { Volumes: { '/a': {}, '/b': {} } }],
  ['USER 1000:1000', { User: '1000:1000' }],
  ['WORKDIR relative', { WorkingDir: '/relative' }],
  ['STOPSIGNAL SIGQUIT', { StopSignal: 'SIGQUIT' }],
  ['ONBUILD RUN true', { OnBuild: ['RUN true'] }],
];
for (const [change, result] of changes) {
  t(`--change ${JSON.stringify(change)}`, () => assert.equal(applyChanges({}, [change]), result));
}

t('later changes go over earlier ones, and the given defaults stay as they are', () => {
  const given = { Env: ['A=1', 'B=2'], WorkingDir: '/a' };
  assert.equal(applyChanges(given, ['ENV A=3', 'WORKDIR b']), { Env: ['B=2', 'A=3'], WorkingDir: '/a/b' });
  assert.equal(given, { Env: ['A=1', 'B=2'], WorkingDir: '/a' });
});

for (const change of ['', 'CMD', 'RUN x', 'ENV', 'ENV =x', 'EXPOSE http', 'NOTHING at all', 'constructor x']) {
  t(`--change ${JSON.stringify(change)} is refused`, () => {
    assert.throws(
      () => applyChanges({}, [change]),
      (error: Error & { code: string }) => error.code === 'CHANGE_INVALID',
    );
  });
}

t.run();
