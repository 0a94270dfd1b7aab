// Blobs on their way up, to a registry that breaks, hangs, forgets and refuses: each time they arrive whole or there is one line
// that says why, and no upload stays open.

import { randomBytes } from 'node:crypto';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { sha256 } from '../../src/native.ts';
import { mediaTypes } from '../../src/registry/oci.ts';
import { nextLink } from '../../src/registry/pages.ts';
import type { Repository } from '../../src/registry/repository.ts';
import { failure } from './faulty.ts';
import { Receiver, repositoryOf } from './receiver.ts';

const t = suite('pushing');
let registry: Receiver;
let repository: Repository;
let close: () => void;

t.before.each(async () => {
  registry = await new Receiver().start();
  ({ repository, close } = repositoryOf(registry.host));
});
t.after.each(async () => {
  close();
  for (const one of [registry, ...others.splice(0)]) await one.close();
});

const others: Receiver[] = [];
/** A server of another host, for this test. */
async function another(): Promise<Receiver> {
  const one = await new Receiver().start();
  others.push(one);
  return one;
}

const bytes = randomBytes(300_000);
const large = randomBytes((20 << 20) + 17);
let opened = 0;
t.before.each(() => {
  opened = 0;
});

/** In uneven pieces, as a compressor gives them. */
function content(of: Buffer = bytes, piece = 40_001) {
  return {
    open: async function* () {
      opened++;
      for (let at = 0; at < of.length; at += piece) yield of.subarray(at, at + piece);
    },
  };
}

function arrived(of: Buffer = bytes): void {
  assert.ok(registry.blobs.get(sha256(of))?.equals(of));
  assert.is(registry.uploads.size, 0, 'no upload stays open');
}

/** It arrives in spite of the fault. */
function survives(name: string, fault: Receiver['fault'], check: () => void = () => undefined, of = bytes): void {
  t(name, async () => {
    registry.fault = fault;
    assert.equal(await repository.uploadBlob(content(of)), { digest: sha256(of), size: of.length });
    arrived(of);
    check();
  });
}

/** It does not, and says so. */
function fails(name: string, fault: Receiver['fault'], code: string, words: RegExp): void {
  t(name, async () => {
    registry.fault = fault;
    const error = await failure(repository.uploadBlob(content()), code, words);
    assert.match(error.message, /127\.0\.0\.1:\d+\/a/);
    registry.fault = () => false;
    await repository.uploadBlob(content());
    assert.ok(registry.blobs.has(sha256(bytes)));
  });
}

const ranges = () => registry.requests.flatMap(({ headers }) => headers['content-range'] ?? []);

survives(
  'one stream, no range, the digest at the end',
  () => false,
  () => {
    assert.equal(registry.requests.map(({ method }) => method).slice(-3), ['POST', 'PATCH', 'PUT']);
    assert.equal(ranges(), []);
  },
);
survives('an empty blob', () => false, undefined, Buffer.alloc(0));

t('what is sent is told', async () => {
  const told: number[] = [];
  await repository.uploadBlob({ ...content(), onBytes: (sent) => told.push(sent) });
  assert.is(told.at(-1), bytes.length);
  assert.is(told.length, Math.ceil(bytes.length / 40_001));
});

t('chunks of what the registry asks for at least', async () => {
  registry.opening = { 'OCI-Chunk-Min-Length': String(9 << 20) };
  await repository.uploadBlob(content(large));
  arrived(large);
  assert.equal(ranges(), [`0-${(9 << 20) - 1}`, `${9 << 20}-${(18 << 20) - 1}`, `${18 << 20}-${large.length - 1}`]);
});

t('a registry that wants chunks too large to be held gets all in one', async () => {
  registry.opening = { 'OCI-Chunk-Min-Length': String(65 << 20) };
  await repository.uploadBlob(content());
  arrived();
  assert.equal(ranges(), []);
});

survives(
  '413 is answered with chunks',
  (request, response) =>
    request.method === 'PATCH' &&
    (request.headers['content-length'] === undefined || Number(request.headers['content-length']) > 10 << 20) &&
    (request.resume(), response.writeHead(413).end(), true),
  () => {
    assert.is(ranges().length, 3);
    assert.is(opened, 2);
  },
  large,
);

/** Takes so many bytes of the first PATCH, then does something else. */
const after =
  (
    limit: number,
    then: (request: Parameters<Receiver['fault']>[0], response: Parameters<Receiver['fault']>[1]) => void,
  ) =>
  (...[request, response, seen]: Parameters<Receiver['fault']>): boolean => {
    if (request.method !== 'PATCH' || seen > 1) return false;
    const upload = registry.uploadOf(request)!;
    registry.take(request, upload, limit).then(
      () => then(request, response),
      () => undefined,
    );
    return true;
  };

survives(
  'a connection that breaks is taken up where it broke',
  after(100_000, (request) => request.socket.resetAndDestroy()),
  () => {
    assert.is(opened, 2);
    assert.is(registry.count('POST'), 1, 'the same upload');
    assert.is(registry.count('GET') - 1, 1, 'asked once how far it came');
  },
);

survives(
  'more breaks than tries, as long as it gets further each time',
  (request) => {
    if (request.method !== 'PATCH') return false;
    const upload = registry.uploadOf(request)!;
    if (upload.reduce((sum, piece) => sum + piece.length, 0) >= 250_000) return false;
    void registry.take(request, upload, 50_000).then(() => request.socket.resetAndDestroy());
    return true;
  },
  () => assert.ok(registry.count('PATCH') > 5),
);

t('a connection that breaks after every few bytes of a small blob', async () => {
  const small = bytes.subarray(0, 60);
  for (let at = 0; at <= small.length; at++) {
    registry.requests.length = 0;
    registry.fault = after(at, (request) => request.socket.resetAndDestroy());
    if (at === 0) {
      registry.fault = (request, _, seen) =>
        request.method === 'PATCH' && seen === 1 && (request.socket.resetAndDestroy(), true);
    }
    assert.equal(
      await repository.uploadBlob(content(small, 7)),
      { digest: sha256(small), size: small.length },
      `at ${at}`,
    );
    arrived(small);
    registry.blobs.clear();
  }
});

t('a broken chunk is not sent from its beginning', async () => {
  registry.opening = { 'OCI-Chunk-Min-Length': '1' };
  registry.fault = after(5_000_000, (request) => request.socket.resetAndDestroy());
  await repository.uploadBlob(content(large));
  arrived(large);
  assert.equal(ranges().slice(0, 2), [`0-${(8 << 20) - 1}`, `5000000-${5_000_000 + (8 << 20) - 1}`]);
});

t('416: the registry is asked where it is', async () => {
  registry.opening = { 'OCI-Chunk-Min-Length': '1' };
  let cut = false;
  registry.fault = (request, response) => {
    // It lost the end of the first chunk and noticed late.
    if (request.method !== 'PATCH' || cut || !request.headers['content-range']?.startsWith(`${8 << 20}-`)) return false;
    cut = true;
    const upload = registry.uploadOf(request)!;
    upload.splice(0, upload.length, large.subarray(0, 1 << 20));
    request.resume();
    // Says nothing of where it is, as not every registry does: it has to be asked.
    response.writeHead(416).end();
    return true;
  };
  await repository.uploadBlob(content(large));
  arrived(large);
  const asked = registry.requests.filter(({ method, url }) => method === 'GET' && url.includes('/uploads/'));
  assert.is(asked.length, 1);
  assert.is(ranges()[2], `1048576-${(9 << 20) - 1}`);
});

survives(
  'an upload that the registry has forgotten begins anew',
  after(100_000, (request) => {
    registry.uploads.clear();
    request.socket.resetAndDestroy();
  }),
  () => assert.is(registry.count('POST'), 2),
);

survives(
  'a lost answer to the last request',
  (request, response, seen) => {
    if (request.method !== 'PUT' || seen > 1) return false;
    registry.blobs.set(sha256(bytes), bytes);
    registry.uploads.clear();
    request.socket.resetAndDestroy();
    response.destroy();
    return true;
  },
  () => assert.is(registry.count('HEAD'), 1),
);

survives(
  '429 with Retry-After in the middle',
  after(50_000, (request, response) => {
    request.resume();
    response.writeHead(429, { 'Retry-After': '0' }).end();
  }),
);
survives(
  '503 at the beginning and at the end',
  (request, response, seen) =>
    (request.method === 'POST' || request.method === 'PUT') && seen === 1 && (response.writeHead(503).end(), true),
);
fails(
  '429 for ever',
  (request, response) => request.method === 'PATCH' && (request.resume(), response.writeHead(429).end(), true),
  'REGISTRY_RATE_LIMITED',
  /limits how often/,
);
fails(
  'a Retry-After that nobody waits for',
  (request, response) =>
    request.method === 'PATCH' && (request.resume(), response.writeHead(429, { 'Retry-After': '86400' }).end(), true),
  'REGISTRY_RATE_LIMITED',
  /try again in 86400 s/,
);
fails(
  'a registry that answers nothing',
  (request) => request.method === 'PATCH' && (request.resume(), true),
  'REGISTRY_UNREACHABLE',
  /cannot push .*no answer within 0\.4 s/,
);
t('a registry that takes nothing', async () => {
  registry.fault = (request) => request.method === 'PATCH' && (request.pause(), true);
  await failure(repository.uploadBlob(content(large)), 'REGISTRY_UNREACHABLE', /nothing was taken for 0\.4 s/);
});
fails(
  'another digest than was sent',
  (request, response) =>
    request.method === 'PUT' && (response.writeHead(400).end('{"errors":[{"code":"DIGEST_INVALID"}]}'), true),
  'REGISTRY_PROTOCOL',
  /status 400 \(DIGEST_INVALID\)/,
);
fails(
  'denied',
  (request, response) => request.method === 'POST' && (response.writeHead(403).end(), true),
  'REGISTRY_DENIED',
  /push access denied for/,
);
fails(
  'a location on another protocol',
  (request, response) =>
    request.method === 'POST' && (response.writeHead(202, { Location: 'file:///etc/passwd' }).end(), true),
  'REGISTRY_PROTOCOL',
  /where kapsel does not go/,
);

t('an upload follows no redirect', async () => {
  const elsewhere = await another();
  registry.fault = (request, response) => {
    if (request.method !== 'PATCH') return false;
    request.resume();
    response.writeHead(307, { Location: `http://${elsewhere.host}/v2/a/blobs/uploads/stolen` }).end();
    return true;
  };
  await failure(repository.uploadBlob(content()), 'REGISTRY_PROTOCOL', /status 307/);
  assert.equal(elsewhere.requests, []);
});

t('bytes that are not what was promised are not committed', async () => {
  const promised = `sha256:${'0'.repeat(64)}`;
  await failure(repository.uploadBlob({ ...content(), digest: promised }), 'DIGEST_MISMATCH', /not sha256:000/);
  await failure(repository.uploadBlob({ ...content(), size: bytes.length + 1 }), 'REGISTRY_UNREACHABLE');
  assert.is(registry.count('PUT'), 0);
  assert.is(registry.uploads.size, 0);
});

t('a stream that cannot be had again ends with the connection, and the upload is taken back', async () => {
  registry.fault = after(100_000, (request) => request.socket.resetAndDestroy());
  await failure(repository.uploadBlob({ ...content(), once: true }), 'REGISTRY_UNREACHABLE', /the connection broke/);
  assert.is(opened, 1);
  assert.is(registry.uploads.size, 0);
});

t('a source that fails is what is said', async () => {
  const open = async function* () {
    yield bytes;
    throw Object.assign(new Error('the disk is on fire'), { code: 'EIO' });
  };
  await failure(repository.uploadBlob({ open }), 'REGISTRY_UNREACHABLE', /the disk is on fire/);
  assert.is(registry.uploads.size, 0);
});

t('an AbortSignal takes the upload back', async () => {
  const controller = new AbortController();
  const open = async function* () {
    yield bytes;
    controller.abort();
    yield bytes;
  };
  await failure(repository.uploadBlob({ open }, controller.signal), 'ABORTED');
  assert.is(registry.uploads.size, 0);
});

t('an upload that moves, with a query, to another host without credentials', async () => {
  const elsewhere = await another();
  registry.fault = (request, response) => {
    if (request.method !== 'POST') return false;
    elsewhere.uploads.set('moved', []);
    response.writeHead(202, { Location: `http://${elsewhere.host}/v2/a/blobs/uploads/moved?k=v` }).end();
    return true;
  };
  await repository.uploadBlob(content());
  assert.ok(elsewhere.blobs.has(sha256(bytes)));
  assert.match(elsewhere.requests.at(-1)!.url, /state=300000&digest=sha256/);
});

t('a token that expires in the middle', async () => {
  let tokens = 0;
  const service = await another();
  service.fault = (_, response) => (response.end(JSON.stringify({ token: `t${++tokens}` })), true);
  let isExpired = false;
  registry.fault = (request, response, seen) => {
    const wanted = `Bearer t${isExpired ? 2 : 1}`;
    if (request.headers.authorization === wanted) {
      if (request.method !== 'PATCH' || seen > 1) return false;
      // It takes a part, and then wants another token.
      const upload = registry.uploadOf(request)!;
      registry.take(request, upload, 100_000).then(
        () => {
          isExpired = true;
          request.resume();
          response
            .writeHead(401, {
              'WWW-Authenticate': `Bearer realm="http://${service.host}/token",scope="repository:a:pull"`,
            })
            .end();
        },
        () => undefined,
      );
      return true;
    }
    request.resume();
    response
      .writeHead(401, { 'WWW-Authenticate': `Bearer realm="http://${service.host}/token",scope="repository:a:pull"` })
      .end();
    return true;
  };
  await repository.uploadBlob(content());
  arrived();
  assert.is(tokens, 2);
  const scope = new URL(service.requests[0]!.url, 'http://x').searchParams.getAll('scope');
  assert.equal(scope, ['repository:a:pull,push']);
});

t('HEAD says whether a blob is there', async () => {
  assert.not(await repository.hasBlob(sha256(bytes)));
  registry.blobs.set(sha256(bytes), bytes);
  assert.ok(await repository.hasBlob(sha256(bytes)));
  registry.fault = (_, response) => (response.writeHead(500).end(), true);
  await failure(repository.hasBlob(sha256(bytes)), 'REGISTRY_PROTOCOL', /500/);
});

t('a mount that is refused opens an upload that is taken back', async () => {
  assert.not(await repository.mountBlob(sha256(bytes), 'other'));
  assert.is(registry.uploads.size, 0);
  assert.match(registry.requests.find(({ method }) => method === 'POST')!.url, /\?mount=sha256%3A\w+&from=other$/);
  registry.fault = (request, response) => request.method === 'POST' && (response.writeHead(201).end(), true);
  assert.ok(await repository.mountBlob(sha256(bytes), 'other'));
  registry.fault = (request, response) => request.method === 'POST' && (response.writeHead(403).end(), true);
  assert.not(await repository.mountBlob(sha256(bytes), 'private'));
});

t('a manifest, and a registry that makes another of it', async () => {
  const manifest = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociManifest }));
  assert.is(await repository.putManifest('1', manifest, mediaTypes.ociManifest), sha256(manifest));
  assert.equal(registry.manifests.get('1'), { type: mediaTypes.ociManifest, bytes: manifest });
  registry.fault = (request, response) =>
    request.method === 'PUT' &&
    (request.resume(), response.writeHead(201, { 'Docker-Content-Digest': sha256(bytes) }).end(), true);
  await failure(repository.putManifest('1', manifest, mediaTypes.ociManifest), 'DIGEST_MISMATCH');
});

t('referrers, by the tag where the registry keeps no list of them', async () => {
  const subject = { mediaType: mediaTypes.ociManifest, digest: sha256(bytes), size: 3 };
  assert.equal(await repository.referrers(subject.digest), []);
  const push = (name: string) => {
    const artifact = { schemaVersion: 2, mediaType: mediaTypes.ociManifest, artifactType: `x/${name}`, subject };
    return repository.putManifest(name, Buffer.from(JSON.stringify(artifact)), mediaTypes.ociManifest);
  };
  const digests = [await push('one'), await push('two'), await push('one')].slice(0, 2);
  const found = await repository.referrers(subject.digest);
  assert.equal(
    found.map(({ digest, artifactType }) => [digest, artifactType]),
    digests.map((digest, index) => [digest, index === 0 ? 'x/one' : 'x/two']),
  );
});

t('referrers of a registry that keeps them', async () => {
  const entry = { mediaType: mediaTypes.ociManifest, digest: sha256(bytes), size: 3 };
  const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [entry] };
  registry.fault = (request, response) =>
    !!request.url?.includes('/referrers/') &&
    (response.setHeader('Content-Type', mediaTypes.ociIndex).end(JSON.stringify(index)), true);
  assert.equal(await repository.referrers(entry.digest), [entry]);
  const artifact = JSON.stringify({ schemaVersion: 2, mediaType: mediaTypes.ociManifest, subject: entry });
  registry.fault = (request, response) =>
    request.method === 'PUT' &&
    (request.resume(), response.writeHead(201, { 'OCI-Subject': entry.digest }).end(), true);
  await repository.putManifest('x', Buffer.from(artifact), mediaTypes.ociManifest);
  assert.is(registry.count('PUT'), 1, 'no tag is kept beside the list');
});

const collect = async (names: AsyncIterable<string>): Promise<string[]> => {
  const all: string[] = [];
  for await (const name of names) all.push(name);
  return all;
};

t('tags page by page', async () => {
  const answers: Record<string, [tags: string[] | null, link?: string]> = {
    '/v2/a/tags/list': [['1', '2'], '</v2/a/tags/list?last=2>; rel="next"'],
    '/v2/a/tags/list?last=2': [['3'], '<list?last=3>; title="x"; rel=next'],
    '/v2/a/tags/list?last=3': [null],
  };
  registry.fault = (request, response) => {
    const [tags, link] = answers[request.url ?? ''] ?? [];
    if (tags === undefined) return false;
    if (link) response.setHeader('Link', link);
    response.end(JSON.stringify({ name: 'a', tags }));
    return true;
  };
  assert.equal(await collect(repository.tags()), ['1', '2', '3']);
  answers['/v2/a/tags/list?last=3'] = [['4'], '</v2/a/tags/list>; rel="next"'];
  await failure(collect(repository.tags()), 'REGISTRY_PROTOCOL', /in a circle/);
  answers['/v2/a/tags/list'] = [['1'], '<http://169.254.169.254/x>; rel="next"'];
  await failure(collect(repository.tags()), 'REGISTRY_PROTOCOL', /where kapsel does not go/);
  registry.fault = (request, response) => !!request.url?.includes('tags') && (response.end('{"tags":[1]}'), true);
  await failure(collect(repository.tags()), 'REGISTRY_PROTOCOL', /no list of tags/);
  registry.fault = () => false;
  await failure(collect(repository.tags()), 'IMAGE_NOT_FOUND', /not found/);
});

t('the next page in a Link header', () => {
  assert.is(nextLink(undefined), undefined);
  assert.is(nextLink('</a>; rel="prev"'), undefined);
  assert.is(nextLink('</a>; rel="prev", </b?n=1&last=x>; rel="next"'), '/b?n=1&last=x');
  assert.is(nextLink('</a>; rel="last next"'), '/a');
  assert.is(nextLink('</a>; title="next"'), undefined);
});

t.run();
