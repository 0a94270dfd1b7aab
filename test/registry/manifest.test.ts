// What is accepted as a manifest or a config, and everything else that a server may call one.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { sha256 } from '../../src/native.ts';
import { imageManifest, parseConfig, parseManifest, verify } from '../../src/registry/manifest.ts';
import { mediaTypes } from '../../src/registry/oci.ts';
import { selectManifest } from '../../src/registry/select.ts';
import { failure } from './faulty.ts';

const t = suite('manifests');
const digest = `sha256:${'1'.repeat(64)}`;
const layer = { mediaType: 'application/vnd.oci.image.layer.v1.tar+gzip', digest, size: 1 };
const config = { mediaType: mediaTypes.ociConfig, digest, size: 2 };
const manifest = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers: [layer] };
const index = {
  schemaVersion: 2,
  mediaType: mediaTypes.ociIndex,
  manifests: [{ mediaType: mediaTypes.ociManifest, digest, size: 3, platform: { os: 'linux', architecture: 'amd64' } }],
};

const bytes = (value: unknown) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value));
const parse = (value: unknown, type?: string) => parseManifest(bytes(value), type, 'it');

t('an OCI manifest', () => {
  const parsed = parse(manifest, mediaTypes.ociManifest);
  assert.is(parsed.kind, 'manifest');
  assert.is(parsed.digest, sha256(bytes(manifest)));
});
t('a media type may be left out inside', () => {
  assert.is(parse({ ...manifest, mediaType: undefined }, `${mediaTypes.ociManifest}; charset=utf-8`).kind, 'manifest');
});
t("Docker's twins", () => {
  const layers = [{ ...layer, mediaType: 'application/vnd.docker.image.rootfs.diff.tar.gzip' }];
  const docker = {
    ...manifest,
    mediaType: mediaTypes.dockerManifest,
    config: { ...config, mediaType: mediaTypes.dockerConfig },
    layers,
  };
  assert.is(parse(docker, mediaTypes.dockerManifest).kind, 'manifest');
  assert.is(parse({ ...index, mediaType: mediaTypes.dockerList }, mediaTypes.dockerList).kind, 'index');
});

t('bytes that are not UTF-8 are refused, within a string too', () => {
  const text = JSON.stringify({ ...manifest, annotations: { a: 'ÿ' } });
  assert.is(parseManifest(Buffer.from(text), undefined, 'it').kind, 'manifest');
  assert.throws(() => parseManifest(Buffer.from(text, 'latin1'), undefined, 'it'), /no JSON object/);
});

t('what was promised of bytes is checked: how many, and their sum', () => {
  const of = Buffer.from('abc');
  verify(of, { digest: sha256(of), size: 3 }, 'it');
  verify(of, { digest: sha256(of) }, 'it');
  assert.throws(() => verify(of, { digest: sha256(of), size: 4 }, 'it'), /it is 3 bytes long where 4 were promised/);
  assert.throws(() => verify(of, { digest, size: 3 }, 'it'), /it has the digest sha256:ba78.*, not sha256:1111/);
});

t('an index in an index is not even asked for', async () => {
  const root = parse({ ...index, manifests: [{ ...index.manifests[0], mediaType: mediaTypes.ociIndex }] });
  let asked = 0;
  const fetch = async () => {
    asked++;
    return root;
  };
  const selected = selectManifest(root, { os: 'linux', architecture: 'amd64' }, fetch, 'it');
  await failure(selected, 'MANIFEST_INVALID', /its index leads to another index/);
  assert.is(asked, 0);
});

const refused: [name: string, value: unknown, type: string | undefined, why: RegExp][] = [
  ['a Content-Type that differs', manifest, mediaTypes.ociIndex, /came as .*index.* but calls itself .*manifest/],
  ['index and manifest at once, as manifest', { ...manifest, manifests: [] }, mediaTypes.ociManifest, /at once/],
  ['index and manifest at once, as index', { ...index, layers: [] }, mediaTypes.ociIndex, /at once/],
  ['schema 1', { schemaVersion: 1 }, 'application/vnd.docker.distribution.manifest.v1+prettyjws', /schema 1/],
  ['a page', '<html>', 'text/html', /no JSON object/],
  ['a page that is JSON', {}, 'application/json', /application\/json is no image manifest/],
  ['a list', [], mediaTypes.ociManifest, /no JSON object/],
  ['another schema version', { ...manifest, schemaVersion: 3 }, mediaTypes.ociManifest, /schemaVersion/],
  ['no config', { ...manifest, config: null }, mediaTypes.ociManifest, /config has no mediaType/],
  [
    'a digest that is a path',
    { ...manifest, layers: [{ ...layer, digest: '../../etc' }] },
    undefined,
    /layers\[0\] has no sha256 digest/,
  ],
  ['a negative size', { ...manifest, layers: [{ ...layer, size: -1 }] }, undefined, /no size/],
  ['a size beyond counting', { ...manifest, layers: [{ ...layer, size: 2 ** 60 }] }, undefined, /no size/],
  [
    'an artifact',
    { ...manifest, config: { ...config, mediaType: 'application/vnd.cncf.helm.config.v1+json' } },
    undefined,
    /artifact/,
  ],
  [
    'a layer of unknown type',
    { ...manifest, layers: [{ ...layer, mediaType: 'application/wasm' }] },
    undefined,
    /application\/wasm/,
  ],
  [
    'an encrypted layer',
    { ...manifest, layers: [{ ...layer, mediaType: `${layer.mediaType}+encrypted` }] },
    undefined,
    /encrypted/,
  ],
  ['501 layers', { ...manifest, layers: Array.from({ length: 501 }, () => layer) }, undefined, /at most 500/],
];
for (const [name, value, type, why] of refused) {
  t(`${name} is refused`, () => {
    const raw = name.includes('UTF-8') ? Buffer.from([0xff, 0xfe, 0x7b]) : bytes(value);
    assert.throws(
      () => imageManifest(parseManifest(raw, type, 'it'), 'it'),
      (error: Error & { code: string }) => {
        assert.is(error.code, 'MANIFEST_INVALID');
        assert.match(error.message, why);
        return true;
      },
    );
  });
}

const image = { os: 'linux', architecture: 'amd64', rootfs: { type: 'layers', diff_ids: [digest] } };
const readConfig = (value: unknown, layers = 1) => parseConfig(bytes(value), layers, 'it');

t("a config, with Docker's nulls for nothing", () => {
  const parsed = readConfig({ ...image, config: { Cmd: ['sh'], Entrypoint: null, Volumes: null, Env: ['A=b'] } });
  assert.equal(parsed.config, { Cmd: ['sh'], Env: ['A=b'] });
});

const badConfigs: [name: string, value: unknown, why: RegExp][] = [
  ['a diffID too few', { ...image, rootfs: { diff_ids: [] } }, /names 0 layers where the manifest has 1/],
  ['no diffIDs', { ...image, rootfs: {} }, /diff_ids/],
  ['a diffID that is a path', { ...image, rootfs: { diff_ids: ['sha256:../../../etc'] } }, /diff_ids/],
  ['no os', { ...image, os: undefined }, /os and architecture/],
  ['an Env that is no list', { ...image, config: { Env: 'A=b' } }, /Env/],
  ['a Cmd of numbers', { ...image, config: { Cmd: [1] } }, /Cmd/],
  ['a NUL in Entrypoint', { ...image, config: { Entrypoint: ['a\0b'] } }, /Entrypoint/],
  ['a User that is no string', { ...image, config: { User: {} } }, /User/],
  ['Labels that are no strings', { ...image, config: { Labels: { a: 1 } } }, /Labels/],
];
for (const [name, value, why] of badConfigs) {
  t(`a config with ${name} is refused`, () => assert.throws(() => readConfig(value), why));
}

t.run();
