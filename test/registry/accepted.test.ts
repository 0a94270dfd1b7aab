// What a pull tells a registry that it takes, and what it takes then: kinds of manifests, their size, and layers that are
// packed in another way than their descriptors say.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { sha256 } from '../../src/native.ts';
import { type Manifest, mediaTypes } from '../../src/registry/oci.ts';
import { busyboxFacts, busyboxLayers, type Compression, hostArchitecture, ociLayout } from '../harness/images.ts';
import { inImage } from '../images/store.ts';
import { failure, FaultyRegistry, sendManifest, TestStore } from './faulty.ts';

const t = suite('what a pull takes');
let directory: string;
let store: TestStore;
/** The same image, packed in each way. */
const registries = new Map<Compression, FaultyRegistry>();

t.before(async () => {
  directory = await mkdtemp(join(process.env.KAPSEL_TEST_SCRATCH ?? tmpdir(), 'accepted-'));
  const layers = await busyboxLayers(directory);
  for (const compression of ['gzip', 'zstd', 'none'] as const) {
    const image = { layers, compression, config: busyboxFacts.config };
    const registry = new FaultyRegistry(await ociLayout(join(directory, compression), [image]));
    registries.set(compression, await registry.start());
  }
});
t.after(async () => {
  for (const registry of registries.values()) await registry.close();
  await rm(directory, { recursive: true, force: true });
});
t.before.each(async () => {
  for (const registry of registries.values()) registry.reset();
  store = await TestStore.make();
});
t.after.each(() => store.close());

/** Has these documents under the tag and by their digests, for whoever says that he takes their kind. */
function serve(registry: FaultyRegistry, ...documents: Buffer[]): void {
  registry.fault = ({ url, headers }, response) => {
    const [, name] = /\/manifests\/(.+)$/.exec(url ?? '') ?? [];
    const found = name === '1' ? documents[0] : documents.find((one) => sha256(one) === name);
    if (!found) return false;
    const { mediaType } = JSON.parse(found.toString()) as { mediaType: string };
    if (headers.accept?.split(', ').includes(mediaType)) sendManifest(response, found);
    else response.writeHead(404).end('{"errors":[{"code":"MANIFEST_UNKNOWN"}]}');
    return true;
  };
}

const json = (document: object): Buffer => Buffer.from(JSON.stringify(document));

async function works(registry: FaultyRegistry): Promise<void> {
  const image = await store.images.pull(`${registry.host}/a/busybox:1`);
  assert.is(await inImage(image, 'cat data/kept && ls data/opaque'), 'kept\nabove\n');
}

for (const [list, manifest] of [
  [mediaTypes.ociIndex, mediaTypes.ociManifest],
  [mediaTypes.dockerList, mediaTypes.dockerManifest],
] as const) {
  t(`a registry that gives only what was asked for has ${list} and ${manifest}`, async () => {
    const registry = registries.get('gzip')!;
    const inner = json({ ...registry.manifest, mediaType: manifest });
    serve(registry, inner);
    await works(registry);
    await store.images.remove(`${registry.host}/a/busybox:1`);
    const platform = { os: 'linux', architecture: hostArchitecture() };
    const entry = { mediaType: manifest, digest: sha256(inner), size: inner.length, platform };
    serve(registry, json({ schemaVersion: 2, mediaType: list, manifests: [entry] }), inner);
    await works(registry);
  });
}

t('a manifest of four MiB, which is the most that a registry must take, and of a byte more', async () => {
  const registry = registries.get('gzip')!;
  const sized = (size: number): Buffer => {
    const padded = (padding: string) => json({ ...registry.manifest, annotations: { padding } });
    return padded('x'.repeat(size - padded('').length));
  };
  serve(registry, sized(4 << 20));
  await works(registry);
  await store.images.remove(`${registry.host}/a/busybox:1`);
  serve(registry, sized((4 << 20) + 1));
  await failure(works(registry), 'REGISTRY_PROTOCOL', /larger than 4194304 bytes/);
  assert.equal(store.contents(), []);
});

for (const [is, says] of [
  ['zstd', 'gzip'],
  ['gzip', 'zstd'],
  ['gzip', 'none'],
  ['none', 'gzip'],
] as const) {
  t(`layers that are packed by ${is} where their descriptors say ${says}`, async () => {
    const registry = registries.get(is)!;
    const { mediaType } = registries.get(says)!.manifest.layers[0]!;
    const { layers, ...rest }: Manifest = registry.manifest;
    serve(registry, json({ ...rest, layers: layers.map((layer) => ({ ...layer, mediaType })) }));
    await works(registry);
  });
}

t.run();
