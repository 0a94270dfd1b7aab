// `copy` between transports: digests stay where bytes do, and skopeo reads what was written.

import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, readdirSync } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { addBlob, busyboxFacts, busyboxLayers, hostArchitecture, ociLayout } from '../harness/images.ts';
import { skopeo, TestRegistry } from '../harness/registry.ts';
import { failure, type Fault, FaultyRegistry, sendManifest, TestStore } from '../registry/faulty.ts';
import { scratchDirectory } from './store.ts';

const t = suite('copy');
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let registry: TestRegistry;
let store: TestStore;
let layout: string;
let number = 0;

t.before(async () => {
  scratch = await scratchDirectory('copy');
  registry = await TestRegistry.start();
  const layers = await busyboxLayers(scratch.path);
  layout = join(scratch.path, 'layout');
  const image = { layers, config: busyboxFacts.config, name: 'it' };
  await ociLayout(layout, [image, { ...image, architecture: 'riscv64', compression: 'zstd' }]);
  await registry.push(`oci:${layout}:it`, 'both:1', ['--all']);
});
t.after(async () => {
  await registry.close();
  await scratch.remove();
});
t.before.each(async () => {
  store = await TestStore.make();
});
t.after.each(() => store.close());

const fresh = () => join(scratch.path, `${++number}`);
const docker = (name: string) => `docker://${registry.host}/${name}`;
const raw = (name: string) =>
  skopeo('inspect', '--raw', ...(name.startsWith('docker:') ? ['--tls-verify=false'] : []), name);
const inspected = async (name: string) =>
  JSON.parse(await skopeo('inspect', ...(name.startsWith('docker:') ? ['--tls-verify=false'] : []), name)) as {
    Digest: string;
    Layers: string[];
    Labels: object;
  };

t('all platforms from registry to registry, byte for byte', async () => {
  const digest = await store.images.copy(docker('both:1'), docker('mirror/both:2'), { all: true });
  assert.is(await raw(docker('mirror/both:2')), await raw(docker('both:1')));
  assert.is((await inspected(docker('mirror/both:2'))).Digest, digest);
  // Every platform can be had from there.
  for (const arch of [hostArchitecture(), 'riscv64']) {
    await skopeo(
      'copy',
      '--src-tls-verify=false',
      `--override-arch=${arch}`,
      docker('mirror/both:2'),
      `dir:${fresh()}`,
    );
  }
});

t('one platform keeps its digest from any place to any other', async () => {
  const expected = JSON.parse(await raw(docker('both:1'))) as { manifests: { digest: string }[] };
  const { digest } = expected.manifests[0]!;
  const chain = [
    docker('both:1'),
    `oci:${fresh()}:one`,
    `dir:${fresh()}`,
    `oci-archive:${fresh()}:two`,
    docker('again:1'),
  ];
  for (const [index, from] of chain.slice(0, -1).entries()) {
    assert.is(await store.images.copy(from, chain[index + 1]!), digest, `${from} to ${chain[index + 1]}`);
  }
  for (const place of chain.slice(1)) {
    const { Digest, Labels } = await inspected(place);
    assert.is(Digest, digest, place);
    assert.equal(Labels, busyboxFacts.config.Labels);
  }
  assert.equal(store.contents(), [], 'nothing stays in the store');
});

t('an index goes through a directory and a layout whole', async () => {
  const [directory, oci] = [fresh(), fresh()];
  await store.images.copy(docker('both:1'), `dir:${directory}`, { all: true });
  assert.is(await readFile(join(directory, 'manifest.json'), 'utf8'), await raw(docker('both:1')));
  await store.images.copy(`dir:${directory}`, `oci:${oci}:all`, { all: true });
  await store.images.copy(`oci:${oci}:all`, docker('through:1'), { all: true });
  assert.is(await raw(docker('through:1')), await raw(docker('both:1')));
  await skopeo('copy', '--all', `dir:${directory}`, `oci:${fresh()}:x`);
});

t('Docker’s media types on demand, and skopeo agrees', async () => {
  await store.images.copy(docker('both:1'), docker('dockers:1'), { format: 'docker' });
  const manifest = JSON.parse(await raw(docker('dockers:1'))) as { mediaType: string; layers: { mediaType: string }[] };
  assert.is(manifest.mediaType, 'application/vnd.docker.distribution.manifest.v2+json');
  assert.is(manifest.layers[0]?.mediaType, 'application/vnd.docker.image.rootfs.diff.tar.gzip');
  await inspected(docker('dockers:1'));
  await failure(
    store.images.copy(docker('both:1'), docker('dockers:2'), { format: 'docker', platform: 'linux/riscv64' }),
    'FORMAT_UNSUPPORTED',
    /zstd/,
  );
});

t('a layout takes more images, and a name moves', async () => {
  const path = fresh();
  await store.images.copy(docker('both:1'), `oci:${path}:a`);
  await store.images.copy(docker('both:1'), `oci:${path}:b`, { platform: 'linux/riscv64' });
  await store.images.copy(docker('both:1'), `oci:${path}:a`, { platform: 'linux/riscv64' });
  const { manifests } = JSON.parse(await readFile(join(path, 'index.json'), 'utf8')) as {
    manifests: { digest: string; annotations: Record<string, string> }[];
  };
  assert.equal(manifests.map(({ annotations }) => Object.values(annotations).join()).sort(), ['a', 'b']);
  assert.is(manifests[0]!.digest, manifests[1]!.digest);
  await failure(store.images.copy(`oci:${path}`, docker('x:1')), 'ARCHIVE_AMBIGUOUS', /2 images/);
  await failure(store.images.copy(`oci:${path}:c`, docker('x:1')), 'IMAGE_NOT_FOUND', /it has/);
});

t('docker save’s archive is packed for a registry', async () => {
  const path = fresh();
  await skopeo('copy', '--src-tls-verify=false', docker('both:1'), `docker-archive:${path}:example.com/a:1`);
  for (const [name, source] of [
    ['packed:1', path],
    ['packed:2', `${path}:example.com/a:1`],
    ['packed:3', `${path}:@0`],
  ]) {
    await store.images.copy(`docker-archive:${source}`, docker(name!));
    const { layers } = JSON.parse(await raw(docker(name!))) as { layers: { mediaType: string }[] };
    assert.ok(
      layers.every(({ mediaType }) => mediaType.endsWith('gzip')),
      'layers are packed',
    );
    await skopeo('copy', '--src-tls-verify=false', docker(name!), `dir:${fresh()}`);
  }
  await failure(
    store.images.copy(`docker-archive:${path}:other:1`, docker('x:1')),
    'IMAGE_NOT_FOUND',
    /example.com\/a:1/,
  );
});

t('what becomes docker save’s archive is the image, under its name, for skopeo and for kapsel', async () => {
  const { Layers, ...rest } = await inspected(docker('both:1'));
  for (const source of [docker('both:1'), `oci:${layout}:it`]) {
    const path = fresh();
    await store.images.copy(source, `docker-archive:${path}:example.com/a:1`);
    const saved = await inspected(`docker-archive:${path}`);
    assert.equal([saved.Layers.length, saved.Labels], [Layers.length, rest.Labels]);
    const [entry] = JSON.parse(execFileSync('tar', ['-xOf', path, 'manifest.json']).toString()) as {
      RepoTags: string[];
    }[];
    assert.equal(entry?.RepoTags, ['example.com/a:1']);
    const [loaded] = await store.images.load(path);
    assert.equal(
      [loaded?.references, loaded?.id],
      [['example.com/a:1'], (await store.images.pull(`${registry.host}/both:1`)).id],
    );
  }
  await failure(store.images.copy(docker('both:1'), `docker-archive:${fresh()}`, { all: true }), 'FORMAT_UNSUPPORTED');
});

t('one image alone is not copied for another machine than it is for', async () => {
  const other = hostArchitecture() === 'riscv64' ? 'linux/amd64' : 'linux/riscv64';
  const path = fresh();
  const refused = (source: string, to = `oci:${path}:x`) =>
    failure(store.images.copy(source, to, { platform: other }), 'PLATFORM_NOT_FOUND', /does not match linux\//);
  await refused('host:true');
  await refused('host:true', 'kapsel:mine:1');
  assert.equal(store.contents(), [], 'it is not even made');
  await store.images.copy(docker('both:1'), 'kapsel:mine:1');
  await refused('mine:1');
  await store.images.copy('mine:1', docker('alone:1'));
  await refused(docker('alone:1'));
  assert.not.ok(existsSync(path));
  await store.images.copy('mine:1', `oci:${path}:x`, { platform: `linux/${hostArchitecture()}` });
});

t('into the store, under the name asked for', async () => {
  await store.images.copy(docker('both:1'), 'kapsel:mine:1');
  const id = store.images.resolve('mine:1')?.id;
  assert.is(await store.images.copy(`oci:${layout}:it`, 'mine:2'), id);
  await failure(store.images.copy(docker('both:1'), 'mine:3', { all: true }), 'PLATFORM_INVALID');
});

t('this machine’s own programs go anywhere', async () => {
  const path = fresh();
  await store.images.copy('host:true', `oci:${path}:host`);
  const { Layers } = await inspected(`oci:${path}:host`);
  assert.is(Layers.length, 1);
  await store.images.copy('host:true', docker('host:1'));
  await skopeo('copy', '--src-tls-verify=false', docker('host:1'), `dir:${fresh()}`);
});

t('a layer that only its maker may spread is named, not copied', async () => {
  const path = fresh();
  execFileSync('cp', ['-r', layout, path]);
  const blob = (digest: string) => join(path, 'blobs', ...digest.split(':'));
  const read = async <T>(digest: string) => JSON.parse(await readFile(blob(digest), 'utf8')) as T;
  const index = JSON.parse(await readFile(join(path, 'index.json'), 'utf8')) as { manifests: { digest: string }[] };
  const list = await read<{ manifests: { digest: string; size: number; mediaType: string }[] }>(
    index.manifests[0]!.digest,
  );
  const manifest = await read<{ layers: { digest: string; mediaType: string; urls?: string[] }[] }>(
    list.manifests[0]!.digest,
  );
  const foreign = manifest.layers[1]!;
  foreign.mediaType = 'application/vnd.oci.image.layer.nondistributable.v1.tar+gzip';
  foreign.urls = ['https://layers.example/1'];
  await rm(blob(foreign.digest));
  const bytes = Buffer.from(JSON.stringify(manifest));
  const entry = { ...list.manifests[0]!, ...(await addBlob(path, bytes)) };
  await writeFile(join(path, 'index.json'), JSON.stringify({ schemaVersion: 2, manifests: [entry] }));
  const directory = fresh();
  assert.is(await store.images.copy(`oci:${path}`, `dir:${directory}`), entry.digest);
  assert.is(await readFile(join(directory, 'manifest.json'), 'utf8'), bytes.toString());
  assert.not.ok(existsSync(join(directory, foreign.digest.slice(7))));
  assert.is(await store.images.copy(`dir:${directory}`, `oci:${fresh()}:x`, { all: true }), entry.digest);
  const converted = fresh();
  await store.images.copy(`dir:${directory}`, `dir:${converted}`, { format: 'docker' });
  const { layers } = JSON.parse(await readFile(join(converted, 'manifest.json'), 'utf8')) as typeof manifest;
  assert.equal(layers[1], { ...foreign, mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip' });
});

t('what fails leaves nothing at the destination', async () => {
  const bad = fresh();
  execFileSync('cp', ['-r', layout, bad]);
  const index = JSON.parse(await readFile(join(bad, 'index.json'), 'utf8')) as { manifests: { digest: string }[] };
  const list = JSON.parse(await readFile(join(bad, 'blobs', ...index.manifests[0]!.digest.split(':')), 'utf8')) as {
    manifests: { digest: string }[];
  };
  const manifest = JSON.parse(await readFile(join(bad, 'blobs', ...list.manifests[0]!.digest.split(':')), 'utf8')) as {
    layers: { digest: string; size: number }[];
  };
  const last = manifest.layers.at(-1)!;
  await writeFile(join(bad, 'blobs', ...last.digest.split(':')), Buffer.alloc(last.size));
  for (const transport of ['oci', 'dir', 'oci-archive', 'docker-archive']) {
    const path = fresh();
    await failure(store.images.copy(`oci:${bad}:it`, `${transport}:${path}`), 'DIGEST_MISMATCH');
    assert.not.ok(existsSync(path), `${transport} is there`);
  }
  await failure(store.images.copy(`oci:${bad}:it`, docker('bad:1')), 'DIGEST_MISMATCH');
  await failure(store.images.copy(docker('bad:1'), `dir:${fresh()}`), 'IMAGE_NOT_FOUND');
  await failure(
    store.images.copy(`oci:${layout}:it`, `dir:${scratch.path}/none/below/${'x'.repeat(300)}`),
    'OUTPUT_REFUSED',
  );
  assert.equal(store.contents(), []);
  assert.not.ok(
    readdirSync(scratch.path).some((name) => name.startsWith('.')),
    'no temporary file',
  );
  await rm(bad, { recursive: true });
});

t('a registry that lies about an index is not followed for ever', async () => {
  const faulty = await new FaultyRegistry(layout).start();
  try {
    const source = `docker://${faulty.host}/a/b:1`;
    const mediaType = 'application/vnd.oci.image.index.v1+json';
    const answer = (document: (of: string) => object): Fault => {
      return (request, response) => {
        const name = /manifests\/(.+)$/.exec(request.url ?? '')?.[1];
        if (name === undefined) return false;
        sendManifest(response, Buffer.from(JSON.stringify(document(name))));
        return true;
      };
    };
    const hashed = (document: object) => {
      const bytes = Buffer.from(JSON.stringify(document));
      return { mediaType, size: bytes.length, digest: `sha256:${createHash('sha256').update(bytes).digest('hex')}` };
    };
    // An index cannot hold its own digest; one that says so is found out.
    const itself = { mediaType, size: 100, digest: `sha256:${'1'.repeat(64)}` };
    faulty.fault = answer(() => ({ schemaVersion: 2, mediaType, manifests: [itself] }));
    await failure(store.images.copy(source, `dir:${fresh()}`, { all: true }), 'SIZE_MISMATCH');
    await failure(store.images.copy(source, `dir:${fresh()}`), 'MANIFEST_INVALID', /another index/);
    // A chain of indexes that each hold the next.
    const chain = new Map<string, object>();
    let top: object = { schemaVersion: 2, mediaType, manifests: [] };
    for (let depth = 0; depth < 50; depth++) {
      const entry = hashed(top);
      chain.set(entry.digest, top);
      top = { schemaVersion: 2, mediaType, manifests: [entry] };
    }
    faulty.fault = answer((name) => chain.get(name) ?? top);
    const path = fresh();
    await failure(store.images.copy(source, `dir:${path}`, { all: true }), 'MANIFEST_INVALID', /too deep/);
    assert.not.ok(existsSync(path));
    assert.ok(faulty.requests.length < 20);
    // More than a manifest may have.
    const long = { schemaVersion: 2, mediaType, manifests: [], padding: 'x'.repeat(5 << 20) };
    faulty.fault = answer(() => long);
    await failure(
      store.images.copy(source, `dir:${fresh()}`, { all: true }),
      'REGISTRY_PROTOCOL',
      /larger than 4194304 bytes/,
    );
  } finally {
    await faulty.close();
  }
});

t('a transport that is none is refused in one line', async () => {
  for (const name of ['docker-daemon:a:1', 'http://x/y', 'containers-storage:a', 'oci:', 'dir:']) {
    await failure(store.images.copy(name, `dir:${fresh()}`), 'TRANSPORT_INVALID');
  }
});

t.run();
