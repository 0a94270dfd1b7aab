// deadline: 300
// Pulls from Debian's docker-registry: every format, a real Debian compared entry by entry, platforms, passwords.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { LayerProgress } from '../../src/engine/images.ts';
import {
  busyboxFacts,
  busyboxLayers,
  type Compression,
  debianTar,
  hostArchitecture,
  ociLayout,
} from '../harness/images.ts';
import { skopeo, TestRegistry } from '../harness/registry.ts';
import { failure, TestStore } from '../registry/faulty.ts';
import { inImage, scratchDirectory } from './store.ts';

const t = suite('pull from docker-registry');
const puller = new URL('puller.ts', import.meta.url).pathname;
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let registry: TestRegistry;
let store: TestStore;
let layers: string[];
/** Debian with busybox's three small layers on it: pushed once, pulled by several tests. */
let debian: string;

t.before(async () => {
  scratch = await scratchDirectory('pull');
  registry = await TestRegistry.start();
  layers = await busyboxLayers(scratch.path);
  const tars = [await debianTar(), ...layers];
  const layout = await ociLayout(join(scratch.path, 'debian'), [{ layers: tars, compression: 'zstd', name: 'debian' }]);
  await registry.push(`oci:${layout}:debian`, 'debian:12', ['--preserve-digests']);
  debian = `${registry.host}/debian:12`;
});
t.after(async () => {
  await registry.close();
  await scratch.remove();
});
t.before.each(async () => {
  store = await TestStore.make();
});
t.after.each(() => store.close());

/** A busybox layout, packed so. */
async function busybox(name: string, compression: Compression): Promise<string> {
  const layout = await ociLayout(join(scratch.path, name), [
    { layers, compression, config: busyboxFacts.config, name: 'it' },
  ]);
  return `oci:${layout}:it`;
}

const formats: [name: string, compression: Compression, skopeo: string[], mediaType: RegExp][] = [
  ['OCI with gzip', 'gzip', ['--format=oci', '--preserve-digests'], /oci\.image\.manifest/],
  ['OCI with zstd', 'zstd', ['--format=oci', '--preserve-digests'], /oci\.image\.manifest/],
  ['OCI without compression', 'none', ['--format=oci', '--preserve-digests'], /oci\.image\.manifest/],
  ['Docker with gzip', 'gzip', ['--format=v2s2'], /docker\.distribution\.manifest\.v2/],
];
for (const [name, compression, options, mediaType] of formats) {
  t(`${name}: verified, unpacked, its whiteouts what the kernel takes for one`, async () => {
    const repository = `busybox/${name.toLowerCase().replaceAll(' ', '-')}:1`;
    await registry.push(await busybox(name, compression), repository, options);
    const raw = await skopeo('inspect', '--raw', '--tls-verify=false', `docker://${registry.host}/${repository}`);
    assert.match((JSON.parse(raw) as { mediaType?: string }).mediaType ?? 'oci.image.manifest', mediaType);
    const image = await store.images.pull(`${registry.host}/${repository}`);
    assert.equal(image.config.config, busyboxFacts.config);
    assert.is(image.layers.length, busyboxFacts.layers);
    assert.is(
      await inImage(image, 'cat data/kept && ls data data/opaque'),
      'kept\ndata:\nkept\nopaque\n\ndata/opaque:\nabove\n',
    );
    assert.match(await inImage(image, 'stat -c %a tmp bin/busybox; ls -l bin/sh'), /^1777\n755\n.* -> busybox\n/);
  });
}

t('progress of each layer, from waiting to done, every byte counted', async () => {
  await registry.push(await busybox('progress', 'gzip'), 'progress:1');
  const seen = new Map<string, LayerProgress[]>();
  const onProgress = (progress: LayerProgress) =>
    seen.set(progress.layer, [...(seen.get(progress.layer) ?? []), progress]);
  await store.images.pull(`${registry.host}/progress:1`, { onProgress });
  assert.is(seen.size, busyboxFacts.layers);
  for (const events of seen.values()) {
    const phases = [...new Set(events.map(({ phase }) => phase))];
    assert.equal(phases, ['waiting', 'downloading', 'done']);
    assert.is(events.at(-1)?.bytes, events.at(-1)?.total);
  }
  seen.clear();
  await store.images.pull(`${registry.host}/progress:1`, { onProgress });
  assert.equal(
    [...seen.values()].map((events) => events.map(({ phase }) => phase)),
    [['exists'], ['exists'], ['exists']],
  );
});

t('Debian 12, every entry as GNU tar sees it', async () => {
  const tar = await debianTar();
  const image = await store.images.pull(debian);
  const layer = image.layers.at(-1)!;
  // Compares names, modes, owners, times, sizes, contents, links and devices.
  execFileSync('tar', ['--compare', '--numeric-owner', '--file', tar, '-C', layer], {
    stdio: 'pipe',
    maxBuffer: 1 << 26,
  });
  const listed = execFileSync('tar', ['--list', '--file', tar], { maxBuffer: 1 << 26 })
    .toString()
    .trim()
    .split('\n');
  const found = execFileSync('find', [layer], { maxBuffer: 1 << 26 })
    .toString()
    .trim()
    .split('\n');
  assert.is(found.length, new Set(listed.map((name) => name.replace(/\/$/, ''))).size);
  assert.match(await inImage(image, 'cat etc/debian_version'), /^12\./);
});

t('an index: this machine by default, another where asked for, an error that lists what there is', async () => {
  const other = hostArchitecture() === 'arm64' ? 'amd64' : 'arm64';
  const config = (made: string) => ({ Labels: { for: made } });
  const images = [
    { layers: layers.slice(0, 1), architecture: other, config: config(other) },
    { layers: layers.slice(0, 1), architecture: 'arm', variant: 'v6', config: config('arm/v6') },
    { layers: layers.slice(0, 1), architecture: hostArchitecture(), config: config('here'), name: 'many' },
  ];
  const layout = await ociLayout(join(scratch.path, 'index'), images);
  await registry.push(`oci:${layout}:many`, 'many:1', ['--all', '--preserve-digests']);
  const name = `${registry.host}/many:1`;
  const label = async (platform?: string) => (await store.images.pull(name, { platform })).config.config?.Labels?.for;
  assert.is(await label(), 'here');
  assert.is(await label(`linux/${other}`), other);
  assert.is(await label('linux/arm/v7'), 'arm/v6');
  const words = new RegExp(`no matching manifest for linux/s390x .*: it has linux/${other}, linux/arm/v6, linux/`);
  await failure(store.images.pull(name, { platform: 'linux/s390x' }), 'PLATFORM_NOT_FOUND', words);
  // What is here is for arm now: `missing` fetches the one that fits, and runs the one that is named.
  assert.is((await store.images.ensure(name, { platform: `linux/${other}` })).config.config?.Labels?.for, other);
  await failure(store.images.ensure(name, { platform: 'linux/s390x', pull: 'never' }), 'PLATFORM_NOT_FOUND');
  assert.is((await store.images.ensure(name, { pull: 'never' })).config.config?.Labels?.for, other);
});

t('a single image for another machine than was asked for', async () => {
  const layout = await ociLayout(join(scratch.path, 'foreign'), [
    { layers: layers.slice(1, 2), architecture: 's390x', name: 'x' },
  ]);
  await registry.push(`oci:${layout}:x`, 'foreign:1');
  const name = `${registry.host}/foreign:1`;
  await failure(
    store.images.pull(name, { platform: 'linux/arm64' }),
    'PLATFORM_NOT_FOUND',
    /linux\/s390x.* does not match linux\/arm64/,
  );
  assert.equal(store.contents(), []);
});

t('by digest: exactly that, and its name is the digest', async () => {
  await registry.push(await busybox('digest', 'gzip'), 'digest:1', ['--preserve-digests']);
  const { digest } = await store.images.pull(`${registry.host}/digest:1`);
  await store.images.remove(`${registry.host}/digest:1`);
  assert.equal(store.contents(), []);
  const name = `${registry.host}/digest@${digest}`;
  assert.is((await store.images.pull(name)).reference, name);
  assert.is((await store.images.ensure(name, { pull: 'never' })).reference, name);
  const [line] = store.images.list();
  assert.equal([line?.repository, line?.tag, line?.digest], [`${registry.host}/digest`, null, digest]);
});

t('never, missing, always', async () => {
  const name = `${registry.host}/policy:1`;
  await failure(store.images.ensure(name, { pull: 'never' }), 'IMAGE_NOT_FOUND', /^No such image: /);
  await failure(store.images.ensure(name), 'IMAGE_NOT_FOUND', /manifest for .*policy:1 not found/);
  await registry.push(await busybox('policy', 'gzip'), 'policy:1');
  const first = await store.images.ensure(name);
  const layout = await ociLayout(join(scratch.path, 'policy2'), [{ layers: layers.slice(0, 1), name: 'it' }]);
  await registry.push(`oci:${layout}:it`, 'policy:1');
  assert.is((await store.images.ensure(name)).id, first.id);
  const second = await store.images.ensure(name, { pull: 'always' });
  assert.is.not(second.id, first.id);
  // The first has lost its tag but not its digest.
  const lines = store.images.list();
  assert.equal(
    lines.map(({ id, tag }) => [id, tag]).sort(),
    [
      [first.id, null],
      [second.id, '1'],
    ].sort(),
  );
});

t('a password from auth.json, none, and a wrong one', async () => {
  const login = { username: 'tester', password: 'päss:word' };
  const locked = await TestRegistry.start({ login });
  const authFile = join(scratch.path, 'auth.json');
  const knows = async (password: string) => {
    const auth = Buffer.from(`${login.username}:${password}`).toString('base64');
    await writeFile(authFile, JSON.stringify({ auths: { [locked.host]: { auth } } }));
  };
  const known = await TestStore.make({ env: { REGISTRY_AUTH_FILE: authFile } });
  try {
    await locked.push(await busybox('locked', 'gzip'), 'locked:1');
    const name = `${locked.host}/locked:1`;
    await failure(store.images.pull(name), 'IMAGE_NOT_FOUND', /pull access denied/);
    await knows('wrong');
    await failure(known.images.pull(name), 'REGISTRY_UNAUTHORIZED', /log in again/);
    await knows(login.password);
    assert.ok((await known.images.pull(name)).changed);
  } finally {
    await known.close();
    await locked.close();
  }
});

t('layers that two images share are fetched once and stay while one of them does', async () => {
  await registry.push(await busybox('shared', 'gzip'), 'shared:1');
  const layout = await ociLayout(join(scratch.path, 'shared2'), [{ layers: layers.slice(0, 2), name: 'it' }]);
  await registry.push(`oci:${layout}:it`, 'shared:2');
  await store.images.pull(`${registry.host}/shared:1`);
  const phases = new Set<string>();
  await store.images.pull(`${registry.host}/shared:2`, { onProgress: ({ phase }) => phases.add(phase) });
  assert.equal([...phases], ['exists']);
  await store.images.remove(`${registry.host}/shared:1`);
  const kept = store.images.resolve(`${registry.host}/shared:2`);
  assert.is(kept?.layers.length, 2);
  assert.is(await inImage(kept!, 'cat data/removed'), 'removed\n');
});

t('a layer tree deleted by hand is fetched again', async () => {
  await registry.push(await busybox('deleted', 'gzip'), 'deleted:1');
  const name = `${registry.host}/deleted:1`;
  const { layers: paths } = await store.images.pull(name);
  execFileSync('rm', ['-rf', paths[1]!]);
  assert.is(store.images.resolve(name), null);
  assert.is(await inImage(await store.images.ensure(name), 'cat data/kept'), 'kept\n');
});

t('a pull killed at any moment: what is there is whole, and the next pull works and cleans up', async () => {
  for (const delay of [40, 90, 140, 200, 300, 450, 700, 1100]) {
    const child = spawn(process.execPath, [puller, store.root, debian], { stdio: 'inherit' });
    const ended = once(child, 'exit');
    setTimeout(() => child.kill('SIGKILL'), delay);
    await ended;
    const present = store.images.resolve(debian);
    if (present) assert.is(await inImage(present, 'cat data/kept'), 'kept\n');
  }
  const image = await store.images.pull(debian);
  assert.match(await inImage(image, 'cat etc/debian_version'), /^12\./);
  const names = store.contents().filter((entry) => /^(layers|tmp)\//.test(entry));
  assert.is(names.length, 2 * 4, names.join());
  assert.is(store.contents().filter((entry) => entry.startsWith('blobs/')).length, 2);
});

t('a full disk: one line, nothing left, and it works once there is room', async () => {
  const mounted = join(scratch.path, 'small');
  await mkdir(mounted);
  const source = new URL('./pull-on-full-disk.ts', import.meta.url).pathname;
  const script = 'mount -t tmpfs -o size=60m tmpfs "$1" && exec "$2" "$3" "$1" "$4"';
  const node = process.execPath;
  const output = execFileSync('unshare', ['--mount', 'sh', '-ec', script, 'sh', mounted, node, source, debian]);
  const { code, message, left, retried } = JSON.parse(output.toString()) as Record<string, unknown>;
  assert.is(code, 'DISK_FULL', String(message));
  assert.match(String(message), /free some disk space/);
  assert.not.match(String(message), /\n/);
  assert.equal(left, []);
  assert.is(retried, true);
});

t.run();
