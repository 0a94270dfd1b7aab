// `load` of archives made by skopeo, and of archives that want to be somewhere else.

import { execFileSync } from 'node:child_process';
import { createReadStream } from 'node:fs';
import { link, mkdir, readFile, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { addBlob, busyboxFacts, busyboxLayers, ociLayout } from '../harness/images.ts';
import { skopeo } from '../harness/registry.ts';
import { failure, TestStore } from '../registry/faulty.ts';
import { inImage, scratchDirectory } from './store.ts';

const t = suite('load');
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let store: TestStore;
let layers: string[];
let number = 0;

t.before(async () => {
  scratch = await scratchDirectory('load');
  layers = await busyboxLayers(scratch.path);
  await ociLayout(join(scratch.path, 'layout'), [{ layers, config: busyboxFacts.config, name: 'it' }]);
});
t.after(() => scratch.remove());
t.before.each(async () => {
  store = await TestStore.make();
});
t.after.each(() => store.close());

/** An archive by skopeo, from the layout. */
async function archive(transport: 'docker-archive' | 'oci-archive', name: string): Promise<string> {
  const path = join(scratch.path, `${++number}.tar`);
  await skopeo('copy', `oci:${scratch.path}/layout:it`, `${transport}:${path}${name}`);
  return path;
}

/** A layout of our own after `change`, as an archive. */
async function changed(change: (directory: string) => Promise<unknown>): Promise<string> {
  const directory = join(scratch.path, `${++number}`);
  await ociLayout(directory, [{ layers, config: busyboxFacts.config, name: 'example.com/changed:1' }]);
  await change(directory);
  const path = `${directory}.tar`;
  execFileSync('tar', ['--create', '--file', path, '-C', directory, '.']);
  return path;
}

async function isWhole(reference: string): Promise<void> {
  const image = store.images.resolve(reference);
  assert.ok(image, `${reference} is not there`);
  assert.equal(image.config.config, busyboxFacts.config);
  assert.is(await inImage(image, 'cat data/kept && ls data'), 'kept\nkept\nopaque\n');
}

t('docker save, with a name', async () => {
  const results = await store.images.load(await archive('docker-archive', ':example.com/saved:1'));
  assert.equal(results[0]?.references, ['example.com/saved:1']);
  await isWhole('example.com/saved:1');
  await isWhole(results[0]!.id);
});

t('docker save, from a stream', async () => {
  await store.images.load(createReadStream(await archive('docker-archive', ':example.com/streamed:1')));
  await isWhole('example.com/streamed:1');
});

t('docker save, compressed', async () => {
  const path = await archive('docker-archive', ':example.com/compressed:1');
  execFileSync('gzip', ['-1', path]);
  await store.images.load(`${path}.gz`);
  await isWhole('example.com/compressed:1');
});

t('an OCI archive, with a name', async () => {
  const results = await store.images.load(await archive('oci-archive', ':example.com/oci:1'));
  assert.equal(results[0]?.references, ['example.com/oci:1']);
  await isWhole('example.com/oci:1');
});

t('an OCI archive without a name is known by its id', async () => {
  const [result] = await store.images.load(await archive('oci-archive', ''));
  assert.equal(result?.references, []);
  await isWhole(result!.id);
  assert.equal(
    store.images.list().map(({ repository, tag }) => [repository, tag]),
    [[null, null]],
  );
});

t('several images in one archive', async () => {
  const path = await changed(async (directory) => {
    const index = JSON.parse(await readFile(join(directory, 'index.json'), 'utf8')) as {
      manifests: { annotations: object }[];
    };
    const [entry] = index.manifests as [{ annotations: object }];
    const named = (name: string) => ({ ...entry, annotations: { 'io.containerd.image.name': name } });
    index.manifests = [named('docker.io/library/one:1'), named('docker.io/library/two:2')];
    await writeFile(join(directory, 'index.json'), JSON.stringify(index));
  });
  assert.equal(
    (await store.images.load(path)).map(({ references }) => references),
    [['one:1'], ['two:2']],
  );
  await isWhole('one:1');
  await isWhole('two:2');
});

t('loading twice changes nothing', async () => {
  const path = await archive('docker-archive', ':example.com/twice:1');
  await store.images.load(path);
  const before = store.contents();
  await store.images.load(path);
  assert.equal(store.contents(), before);
});

const blob = (directory: string, digest: string) => join(directory, 'blobs', ...digest.split(':'));

async function manifestOf(
  directory: string,
): Promise<{ config: { digest: string }; layers: { digest: string; size: number }[] }> {
  const index = JSON.parse(await readFile(join(directory, 'index.json'), 'utf8')) as {
    manifests: { digest: string }[];
  };
  return JSON.parse(await readFile(blob(directory, index.manifests[0]!.digest), 'utf8'));
}

/** A docker-archive's manifest.json beside the layout, which it comes before. */
const dockerManifest = (entry: object) => async (directory: string) => {
  const { config, layers: list } = await manifestOf(directory);
  const whole = {
    Config: `blobs/${config.digest.replace(':', '/')}`,
    RepoTags: ['example.com/changed:1'],
    Layers: list.map(({ digest }) => `blobs/${digest.replace(':', '/')}`),
    ...entry,
  };
  await writeFile(join(directory, 'manifest.json'), JSON.stringify([whole]));
};

const refused: [name: string, change: (directory: string) => Promise<unknown>, code: string, words: RegExp][] = [
  [
    'a layer that is missing',
    async (d) => rm(blob(d, (await manifestOf(d)).layers[1]!.digest)),
    'ARCHIVE_INVALID',
    /lacks "blobs\/sha256/,
  ],
  [
    'a layer with one byte changed',
    async (d) => {
      const path = blob(d, (await manifestOf(d)).layers[0]!.digest);
      const bytes = await readFile(path);
      bytes[4]! ^= 1;
      await writeFile(path, bytes);
    },
    'DIGEST_MISMATCH',
    /layer sha256:/,
  ],
  [
    'a layer that is longer',
    async (d) => writeFile(blob(d, (await manifestOf(d)).layers[1]!.digest), 'more', { flag: 'a' }),
    'SIZE_MISMATCH',
    /where the archive promises/,
  ],
  [
    'a config that is another',
    async (d) => writeFile(blob(d, (await manifestOf(d)).config.digest), '{}'),
    'SIZE_MISMATCH',
    /./,
  ],
  [
    'a layer that is a link out of the archive',
    async (d) => {
      const path = blob(d, (await manifestOf(d)).layers[1]!.digest);
      await rm(path);
      await symlink('/etc/passwd', path);
    },
    'LAYER_ESCAPES',
    /outside its archive/,
  ],
  [
    'a blob directory that is a link out of the archive',
    async (d) => {
      await rename(join(d, 'blobs'), join(scratch.path, 'stolen'));
      await symlink(join(scratch.path, 'stolen'), join(d, 'blobs'));
    },
    'LAYER_ESCAPES',
    /outside its archive/,
  ],
  [
    'a layer that is a directory',
    async (d) => {
      const path = blob(d, (await manifestOf(d)).layers[1]!.digest);
      await rm(path);
      await mkdir(path);
    },
    'ARCHIVE_INVALID',
    /no regular file/,
  ],
  [
    'Docker: a layer whose path climbs out',
    dockerManifest({ Layers: Array(3).fill('../../../../../../etc/passwd') }),
    'ARCHIVE_INVALID',
    /leads out of it|lacks/,
  ],
  ['Docker: an absolute path', dockerManifest({ Config: '/etc/passwd' }), 'ARCHIVE_INVALID', /lacks/],
  [
    'Docker: a config that is not its name',
    async (d) => {
      await writeFile(join(d, `${'a'.repeat(64)}.json`), '{}');
      await dockerManifest({ Config: `${'a'.repeat(64)}.json` })(d);
    },
    'DIGEST_MISMATCH',
    /the config of/,
  ],
  [
    'Docker: a name that is none',
    dockerManifest({ RepoTags: ['../evil'] }),
    'REFERENCE_INVALID',
    /invalid reference format/,
  ],
  ['Docker: no layers', dockerManifest({ Layers: 'x' }), 'ARCHIVE_INVALID', /without Config and Layers/],
  [
    'Docker: a list of nothing known',
    async (d) => writeFile(join(d, 'manifest.json'), '{}'),
    'ARCHIVE_INVALID',
    /no list/,
  ],
  [
    'an index that names itself',
    async (d) => {
      const inner = await addBlob(
        d,
        Buffer.from(
          JSON.stringify({ schemaVersion: 2, mediaType: 'application/vnd.oci.image.index.v1+json', manifests: [] }),
        ),
      );
      const outer = {
        schemaVersion: 2,
        mediaType: 'application/vnd.oci.image.index.v1+json',
        manifests: [{ mediaType: 'application/vnd.oci.image.index.v1+json', ...inner }],
      };
      const entry = { mediaType: outer.mediaType, ...(await addBlob(d, Buffer.from(JSON.stringify(outer)))) };
      await writeFile(join(d, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
    },
    'MANIFEST_INVALID',
    /another index/,
  ],
  ['neither kind of archive', async (d) => rm(join(d, 'index.json')), 'ARCHIVE_INVALID', /`import`/],
  [
    'a future layout',
    async (d) => writeFile(join(d, 'oci-layout'), '{"imageLayoutVersion":"2.0"}'),
    'ARCHIVE_INVALID',
    /oci-layout/,
  ],
];
for (const [name, change, code, words] of refused) {
  t(`${name}: refused, nothing left`, async () => {
    await failure(store.images.load(await changed(change)), code, words);
    assert.equal(store.contents(), []);
  });
}

t('an archive in which blobs are hard links to each other is an archive', async () => {
  const path = await changed(async (directory) => {
    const { layers: list } = await manifestOf(directory);
    await link(blob(directory, list[0]!.digest), join(directory, 'another'));
  });
  await store.images.load(path);
  await isWhole('example.com/changed:1');
});

const noArchives: [name: string, bytes: Buffer][] = [
  ['nothing', Buffer.alloc(0)],
  ['noise', Buffer.from('this is no archive '.repeat(1000))],
];
for (const [name, bytes] of noArchives) {
  t(`${name} is no archive`, async () => {
    const path = join(scratch.path, `${++number}`);
    await writeFile(path, bytes);
    const error = await store.images.load(path).then(
      () => undefined,
      (reason: Error & { code: string }) => reason,
    );
    assert.ok(error && /^[A-Z_]+$/.test(error.code), String(error));
    assert.equal(store.contents(), []);
  });
}

t('an archive cut off in the middle', async () => {
  const path = await archive('docker-archive', ':example.com/cut:1');
  const bytes = await readFile(path);
  await writeFile(path, bytes.subarray(0, bytes.length >> 1));
  await failure(store.images.load(path), 'LAYER_TRUNCATED');
  assert.equal(store.contents(), []);
});

t('a file that is not there', async () => {
  await failure(
    store.images.load(join(scratch.path, 'missing')),
    'ARCHIVE_UNREADABLE',
    /cannot read .*missing: no such file/,
  );
});

t('an AbortSignal ends a load of an endless stream and leaves nothing', async () => {
  const { Readable } = await import('node:stream');
  const signal = AbortSignal.timeout(150);
  const endless = new Readable({ read: () => undefined });
  await failure(store.images.load(endless, { signal }), 'ABORTED');
  endless.destroy();
  assert.equal(store.contents(), []);
});

t.run();
