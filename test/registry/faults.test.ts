// A registry that breaks, hangs and lies: each time one line that says so, an empty store, and a retry that works.

import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { sha256 } from '../../src/native.ts';
import { type Descriptor, mediaTypes } from '../../src/registry/oci.ts';
import { busyboxFacts, busyboxLayers, ociLayout } from '../harness/images.ts';
import { breakAt, failure, type Fault, FaultyRegistry, sendBlob, sendManifest, TestStore } from './faulty.ts';

const t = suite('a registry that lies');
let directory: string;
let registry: FaultyRegistry;
let store: TestStore;

t.before(async () => {
  directory = await mkdtemp(join(process.env.KAPSEL_TEST_SCRATCH ?? tmpdir(), 'faults-'));
  const layers = await busyboxLayers(directory);
  const layout = await ociLayout(join(directory, 'layout'), [{ layers, config: busyboxFacts.config }]);
  registry = await new FaultyRegistry(layout).start();
});
t.after(async () => {
  await registry.close();
  await rm(directory, { recursive: true, force: true });
});
t.before.each(async () => {
  registry.reset();
  store = await TestStore.make();
});
t.after.each(() => store.close());

const reference = () => `${registry.host}/a/busybox:1`;
const pull = () => store.images.pull(reference());
const bigLayer = () => registry.manifest.layers[0]!;
const smallLayer = () => registry.manifest.layers[1]!;

/** A fault in the answer for one digest. */
function on(digest: () => string, fault: Fault): Fault {
  return (request, response, seen) => !!request.url?.endsWith(digest()) && fault(request, response, seen);
}

/** A fault in the answer for the tag. */
const onTag = (fault: Fault): Fault => on(() => 'manifests/1', fault);

/** The pull fails so; nothing of it is left; the honest registry is pulled from afterwards. */
function fails(name: string, fault: () => Fault, code: string, words: RegExp): void {
  t(name, async () => {
    registry.fault = fault();
    const error = await failure(pull(), code, words);
    assert.match(error.message, /127\.0\.0\.1:\d+\/a\/busybox/);
    assert.equal(store.contents(), []);
    registry.reset();
    assert.is((await pull()).layers.length, busyboxFacts.layers);
  });
}

/** The pull works in spite of it. */
function survives(name: string, fault: () => Fault, check: () => void = () => undefined): void {
  t(name, async () => {
    registry.fault = fault();
    assert.is((await pull()).layers.length, busyboxFacts.layers);
    check();
  });
}

t('the honest registry', async () => {
  const { id, changed } = await pull();
  assert.is(id, registry.manifest.config.digest);
  assert.ok(changed);
  assert.not((await pull()).changed);
});

// Bytes that are not what was promised.
const flipped = (bytes: Buffer) =>
  Buffer.from(bytes.map((byte, index) => (index === bytes.length >> 1 ? byte ^ 1 : byte)));
fails(
  'a layer with one bit flipped that its compression does not notice',
  () =>
    on(
      () => bigLayer().digest,
      (_, response) => {
        const bytes = Buffer.from(registry.blob(bigLayer().digest));
        bytes[4]! ^= 1; // gzip's time stamp
        sendBlob(response, bytes);
        return true;
      },
    ),
  'DIGEST_MISMATCH',
  /layer sha256:/,
);
fails(
  'a layer with one bit flipped',
  () =>
    on(
      () => bigLayer().digest,
      (_, response) => (sendBlob(response, flipped(registry.blob(bigLayer().digest))), true),
    ),
  'LAYER_CORRUPT',
  /layer sha256:/,
);
fails(
  'a config with one bit flipped',
  () => {
    const { digest } = registry.manifest.config;
    return on(
      () => digest,
      (_, response) => (sendBlob(response, flipped(registry.blob(digest))), true),
    );
  },
  'DIGEST_MISMATCH',
  /the config of/,
);
fails(
  'a layer that ends early',
  () =>
    on(
      () => bigLayer().digest,
      (_, response) => (response.end(registry.blob(bigLayer().digest).subarray(0, 1000)), true),
    ),
  'SIZE_MISMATCH',
  /is 1000 bytes long where the manifest promises \d+/,
);
fails(
  'a layer whose Content-Length is another',
  () =>
    on(
      () => bigLayer().digest,
      (_, response) => (sendBlob(response, registry.blob(bigLayer().digest).subarray(1)), true),
    ),
  'SIZE_MISMATCH',
  /bytes long where the manifest promises/,
);
fails(
  'a layer that does not end where it should',
  () =>
    on(
      () => smallLayer().digest,
      (_, response) => (
        response.writeHead(200),
        response.end(Buffer.concat([registry.blob(smallLayer().digest), Buffer.alloc(70_000)])),
        true
      ),
    ),
  'SIZE_MISMATCH',
  /more than/,
);
fails(
  'a manifest that is another than its header says',
  () => onTag((_, response) => (response.setHeader('Docker-Content-Digest', sha256(Buffer.from('x'))), false)),
  'DIGEST_MISMATCH',
  /the manifest of/,
);
fails(
  'a manifest of five MiB',
  () =>
    onTag(
      (_, response) => (
        response.setHeader('Content-Type', mediaTypes.ociManifest).end(Buffer.alloc(5 << 20, 32)),
        true
      ),
    ),
  'REGISTRY_PROTOCOL',
  /larger than 4194304 bytes/,
);
fails(
  'a manifest that comes as something else',
  () =>
    onTag(
      (_, response) => (
        response.setHeader('Content-Type', mediaTypes.ociIndex).end(registry.blob(registry.root.digest)),
        true
      ),
    ),
  'MANIFEST_INVALID',
  /came as .* but calls itself/,
);

t('a digest asked for and another given', async () => {
  const other = `sha256:${'0'.repeat(64)}`;
  registry.fault = on(
    () => other,
    (_, response) => (sendManifest(response, registry.blob(registry.root.digest)), true),
  );
  await failure(store.images.pull(`${registry.host}/a/busybox@${other}`), 'DIGEST_MISMATCH');
  assert.equal(store.contents(), []);
});

/** Serves a manifest made up for the test; its blobs too. */
function serving(top: object, ...blobs: Buffer[]): Fault {
  const bytes = Buffer.from(JSON.stringify(top));
  return (request, response) => {
    const found = [bytes, ...blobs].find((one) => request.url?.endsWith(sha256(one)));
    if (request.url?.endsWith('/manifests/1')) sendManifest(response, bytes);
    else if (found && request.url?.includes('/manifests/')) sendManifest(response, found);
    else if (found) sendBlob(response, found);
    else return false;
    return true;
  };
}

const describe = (mediaType: string, bytes: Buffer): Descriptor => ({
  mediaType,
  digest: sha256(bytes),
  size: bytes.length,
});
const platform = { os: 'linux', architecture: process.arch === 'x64' ? 'amd64' : process.arch };

fails(
  'an index that leads to an index',
  () => {
    const inner = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [] }));
    const entry = { ...describe(mediaTypes.ociIndex, inner), platform };
    return serving({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [entry] }, inner);
  },
  'MANIFEST_INVALID',
  /another index/,
);
fails(
  'an index that calls an index a manifest',
  () => {
    const inner = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [] }));
    const entry = { ...describe(mediaTypes.ociManifest, inner), platform };
    return serving({ schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [entry] }, inner);
  },
  'MANIFEST_INVALID',
  /the index calls it .*manifest.*, it is .*index/,
);
fails(
  'an index without this platform',
  () => {
    const entry = { ...registry.root, platform: { os: 'linux', architecture: 's390x' } };
    return serving({ schemaVersion: 2, mediaType: mediaTypes.dockerList, manifests: [entry] });
  },
  'PLATFORM_NOT_FOUND',
  /no matching manifest for linux\/\w+ in .*: it has linux\/s390x/,
);
fails(
  'a config with a diffID too few',
  () => {
    const config = JSON.parse(registry.blob(registry.manifest.config.digest).toString()) as {
      rootfs: { diff_ids: string[] };
    };
    config.rootfs.diff_ids.pop();
    const bytes = Buffer.from(JSON.stringify(config));
    return serving(
      { ...registry.manifest, mediaType: mediaTypes.ociManifest, config: describe(mediaTypes.ociConfig, bytes) },
      bytes,
    );
  },
  'MANIFEST_INVALID',
  /names 2 layers where the manifest has 3/,
);
fails(
  'a config whose diffID is another',
  () => {
    const text = registry.blob(registry.manifest.config.digest).toString();
    const config = JSON.parse(text) as { rootfs: { diff_ids: string[] } };
    config.rootfs.diff_ids[1] = `sha256:${'9'.repeat(64)}`;
    const bytes = Buffer.from(JSON.stringify(config));
    return serving(
      { ...registry.manifest, mediaType: mediaTypes.ociManifest, config: describe(mediaTypes.ociConfig, bytes) },
      bytes,
    );
  },
  'DIFF_ID_MISMATCH',
  /layer sha256:/,
);
fails(
  'a layer that is no tar',
  () => {
    const bytes = Buffer.from('#!/bin/sh\necho this is no tar\n'.repeat(100));
    const layers = [...registry.manifest.layers];
    layers[2] = describe('application/vnd.oci.image.layer.v1.tar', bytes);
    return serving({ ...registry.manifest, mediaType: mediaTypes.ociManifest, layers }, bytes);
  },
  'LAYER_INVALID',
  /layer sha256:/,
);

// Connections.
fails('no answer', () => onTag(() => true), 'REGISTRY_UNREACHABLE', /no answer within 0\.4 s/);
fails(
  'a body that stops coming',
  () =>
    on(
      () => bigLayer().digest,
      (_, response) => (response.setHeader('Content-Length', bigLayer().size).write('x'), true),
    ),
  'REGISTRY_UNREACHABLE',
  /nothing came for 0\.4 s/,
);
fails(
  'a connection that always breaks',
  () =>
    on(
      () => bigLayer().digest,
      (request, response) => (request.socket.resetAndDestroy(), response.destroy(), true),
    ),
  'REGISTRY_UNREACHABLE',
  /the connection broke/,
);
fails(
  'a range that is another than asked for',
  () =>
    on(
      () => bigLayer().digest,
      (request, response) => {
        const bytes = registry.blob(bigLayer().digest);
        if (request.headers.range)
          response.writeHead(206, { 'Content-Range': `bytes 0-9/${bytes.length}` }).end(bytes.subarray(0, 10));
        else breakAt(response, bytes, 5000);
        return true;
      },
    ),
  'REGISTRY_PROTOCOL',
  /bytes 0-9/,
);
survives(
  'a connection that breaks in a layer is taken up where it broke',
  () =>
    on(
      () => bigLayer().digest,
      (_, response, seen) => seen === 1 && (breakAt(response, registry.blob(bigLayer().digest), 500_000), true),
    ),
  () => {
    const { url, headers } = registry.requests.findLast(({ headers }) => headers.range)!;
    assert.ok(url.endsWith(bigLayer().digest));
    assert.match(headers.range!, /^bytes=[1-9]\d*-$/);
  },
);
survives('a registry that ignores Range sends it all again', () =>
  on(
    () => bigLayer().digest,
    (_, response, seen) => {
      const bytes = registry.blob(bigLayer().digest);
      if (seen === 1) breakAt(response, bytes, 500_000);
      else sendBlob(response, bytes);
      return true;
    },
  ),
);
survives('a manifest that breaks off is asked for again', () =>
  onTag((_, response, seen) => seen === 1 && (breakAt(response, registry.blob(registry.root.digest), 50), true)),
);

// blob.test.ts breaks off at every byte.
t('a connection broken at the ends and in the middle of a small layer', async () => {
  const { digest, size } = smallLayer();
  for (const at of [0, 1, size >> 1, size - 1, size]) {
    const fresh = await TestStore.make();
    registry.reset();
    registry.fault = on(
      () => digest,
      (_, response, seen) => seen === 1 && (breakAt(response, registry.blob(digest), at), true),
    );
    assert.is((await fresh.images.pull(reference())).layers.length, busyboxFacts.layers, `broken at ${at}`);
    await fresh.close();
  }
});

t('nobody listens', async () => {
  const error = await failure(store.images.pull('127.0.0.1:1/a/b'), 'REGISTRY_UNREACHABLE', /connection refused/);
  assert.match(error.message, /cannot pull 127\.0\.0\.1:1\/a\/b/);
});

t('a layer that fails ends the others at once', async () => {
  registry.fault = (request, response) => {
    if (request.url?.endsWith(smallLayer().digest)) sendBlob(response, flipped(registry.blob(smallLayer().digest)));
    else if (request.url?.endsWith(bigLayer().digest)) response.setHeader('Content-Length', bigLayer().size).write('x');
    else return false;
    return true;
  };
  const patient = await TestStore.make({ patience: { answer: 60_000, idle: 60_000 } });
  const started = performance.now();
  await failure(patient.images.pull(reference()), 'DIGEST_MISMATCH');
  assert.ok(performance.now() - started < 10_000);
  assert.equal(patient.contents(), []);
  await patient.close();
});

t('an AbortSignal stops everything and leaves nothing', async () => {
  const controller = new AbortController();
  registry.fault = on(
    () => bigLayer().digest,
    (_, response) => {
      response
        .setHeader('Content-Length', bigLayer().size)
        .write(registry.blob(bigLayer().digest).subarray(0, 100_000));
      setTimeout(() => controller.abort(), 50);
      return true;
    },
  );
  await failure(store.images.pull(reference(), { signal: controller.signal }), 'ABORTED');
  assert.equal(store.contents(), []);
  await failure(store.images.pull(reference(), { signal: AbortSignal.abort() }), 'ABORTED');
});

// A registry that is busy.
survives(
  '429 with Retry-After is tried again at once',
  () => onTag((_, response, seen) => seen === 1 && (response.writeHead(429, { 'Retry-After': '0' }).end(), true)),
  () => assert.is(registry.count('manifests/1'), 2),
);
let asked: number[] = [];
survives(
  '429 with Retry-After is waited for',
  () =>
    onTag((_, response, seen) => {
      asked = [...(seen === 1 ? [] : asked), performance.now()];
      return seen === 1 && (response.writeHead(429, { 'Retry-After': '1' }).end(), true);
    }),
  // The store of these tests waits ten milliseconds at most where it is not asked to.
  () => assert.ok(asked[1]! - asked[0]! > 900),
);
survives('429 without is tried again', () =>
  onTag((_, response, seen) => seen < 3 && (response.writeHead(429).end(), true)),
);
survives('503 in a layer is tried again', () =>
  on(
    () => bigLayer().digest,
    (_, response, seen) => seen === 1 && (response.writeHead(503).end(), true),
  ),
);
fails(
  '429 for ever',
  () => onTag((_, response) => (response.writeHead(429).end(), true)),
  'REGISTRY_RATE_LIMITED',
  /limits how often/,
);
t('429 with a Retry-After that nobody would wait for', async () => {
  registry.fault = onTag((_, response) => (response.writeHead(429, { 'Retry-After': '86400' }).end(), true));
  await failure(pull(), 'REGISTRY_RATE_LIMITED', /try again in 86400 s/);
  assert.is(registry.count('manifests/1'), 1);
});
fails(
  '500',
  () => onTag((_, response) => (response.writeHead(500).end('<html>'), true)),
  'REGISTRY_PROTOCOL',
  /status 500/,
);

// What is not there.
fails(
  'an unknown tag',
  () => onTag((_, response) => (response.writeHead(404).end(), true)),
  'IMAGE_NOT_FOUND',
  /manifest for .*busybox:1 not found: manifest unknown/,
);
fails(
  'an unknown repository',
  () => onTag((_, response) => (response.writeHead(404).end('{"errors":[{"code":"NAME_UNKNOWN"}]}'), true)),
  'IMAGE_NOT_FOUND',
  /no such repository/,
);
fails(
  'a layer that the registry has lost',
  () =>
    on(
      () => smallLayer().digest,
      (_, response) => (response.writeHead(404).end(), true),
    ),
  'REGISTRY_PROTOCOL',
  /not the blob sha256:.*: push the image again/,
);
fails(
  'denied',
  () => onTag((_, response) => (response.writeHead(403).end(), true)),
  'IMAGE_NOT_FOUND',
  /pull access denied for/,
);

t('a registry whose words are escape codes says nothing to the terminal', async () => {
  registry.fault = onTag(
    (_, response) => (response.writeHead(404).end('{"errors":[{"code":"\\u001b[2J","message":"\\u001b]0;x"}]}'), true),
  );
  const error = await failure(pull(), 'IMAGE_NOT_FOUND');
  assert.not(error.message.includes('\u001b'));
});

t.run();
