// Blobs on their way down, byte by byte: broken off anywhere, continued, and never longer, shorter or from elsewhere than promised.

import { randomBytes } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { sha256 } from '../../src/native.ts';
import type { Descriptor } from '../../src/registry/oci.ts';
import type { Repository } from '../../src/registry/repository.ts';
import { failure, sendBlob } from './faulty.ts';
import { type Fault, Receiver, repositoryOf } from './receiver.ts';

const t = suite('blobs');
let registry: Receiver;
let repository: Repository;
let close: () => void;

t.before.each(async () => {
  registry = await new Receiver().start();
  ({ repository, close } = repositoryOf(registry.host));
});
t.after.each(async () => {
  close();
  await registry.close();
});

const bytes = randomBytes(64);
const blob: Descriptor = { mediaType: 'application/octet-stream', digest: sha256(bytes), size: bytes.length };

async function read(from = 0, signal?: AbortSignal): Promise<Buffer> {
  const pieces: Buffer[] = [];
  for await (const piece of repository.blob(blob, signal, from)) pieces.push(piece);
  return Buffer.concat(pieces);
}

const ranges = (): (string | undefined)[] =>
  registry.requests.filter(({ url }) => url.includes('/blobs/')).map(({ headers }) => headers.range);

/** The first answer is this; the others are honest. */
const first =
  (answer: (response: ServerResponse) => void): Fault =>
  (request, response) => {
    if (!request.url?.includes('/blobs/')) return false;
    if (ranges().length === 1) answer(response);
    else sendBlob(response, bytes, request.headers.range);
    return true;
  };

t('ended after every byte, it is continued there', async () => {
  let continued = 0;
  for (let at = 0; at < bytes.length; at++) {
    registry.requests.length = 0;
    registry.fault = first((response) => {
      response.setHeader('Content-Length', bytes.length).flushHeaders();
      response.write(bytes.subarray(0, at), () => response.destroy());
    });
    assert.ok((await read()).equals(bytes), `at ${at}`);
    if (ranges()[1] === `bytes=${at}-`) continued++;
    // On a busy machine the end may be seen before the bytes that came before it: then they are asked for again.
    else assert.equal(ranges(), [undefined, undefined]);
  }
  assert.ok(continued > bytes.length / 2, `${continued}`);
});

t('reset after every byte, it is whole', async () => {
  for (let at = 0; at <= bytes.length; at++) {
    registry.requests.length = 0;
    registry.fault = first((response) => {
      response.setHeader('Content-Length', bytes.length).flushHeaders();
      response.write(bytes.subarray(0, at), () => response.socket?.resetAndDestroy());
    });
    assert.ok((await read()).equals(bytes), `at ${at}`);
  }
});

t('from any byte on', async () => {
  registry.fault = (request, response) =>
    !!request.url?.includes('/blobs/') && (sendBlob(response, bytes, request.headers.range), true);
  for (let from = 0; from < bytes.length; from++) assert.ok((await read(from)).equals(bytes.subarray(from)));
});

t('from any byte on, of a registry that knows no ranges', async () => {
  registry.blobs.set(blob.digest, bytes);
  for (let from = 0; from < bytes.length; from++) assert.ok((await read(from)).equals(bytes.subarray(from)));
});

for (const [range, name] of [
  [`bytes 0-63/64`, 'all of it'],
  [`bytes 9-63/64`, 'an earlier byte'],
  [`bytes 10-62/64`, 'an end too early'],
  [`bytes 10-63/65`, 'another size'],
  [`bytes=10-63/64`, 'another spelling'],
  ['', 'none'],
]) {
  t(`a Content-Range with ${name}`, async () => {
    registry.fault = (request, response) =>
      !!request.url?.includes('/blobs/') &&
      (response.writeHead(206, range ? { 'Content-Range': range } : {}).end(bytes.subarray(10)), true);
    await failure(read(10), 'REGISTRY_PROTOCOL', /answered a request for blob .* from byte 10 with/);
  });
}

t('206 where nothing was asked for but all', async () => {
  registry.fault = (request, response) =>
    !!request.url?.includes('/blobs/') &&
    (response.writeHead(206, { 'Content-Range': 'bytes 0-63/64' }).end(bytes), true);
  await failure(read(), 'REGISTRY_PROTOCOL', /status 206/);
});

t('416', async () => {
  registry.fault = (request, response) =>
    !!request.url?.includes('/blobs/') && (response.writeHead(416, { 'Content-Range': 'bytes */9' }).end(), true);
  await failure(read(10), 'REGISTRY_PROTOCOL', /status 416/);
});

t('more or fewer bytes than promised', async () => {
  let body = Buffer.concat([bytes, Buffer.from('x')]);
  // Without a length that would say so before.
  registry.fault = (request, response) => {
    if (!request.url?.includes('/blobs/')) return false;
    response.write(body);
    response.end();
    return true;
  };
  await failure(read(), 'SIZE_MISMATCH', /more than 64 bytes long where the manifest promises 64/);
  body = bytes.subarray(0, 63);
  await failure(read(), 'SIZE_MISMATCH', /is 63 bytes long where the manifest promises 64/);
  registry.fault = (request, response) => {
    if (!request.url?.includes('/blobs/')) return false;
    response.setHeader('Content-Length', 65).flushHeaders(); // And nothing of it.
    return true;
  };
  await failure(read(), 'SIZE_MISMATCH', /is 65 bytes long where the manifest promises 64/);
});

t('one byte a try is no progress', async () => {
  registry.fault = (request, response) => {
    if (!request.url?.includes('/blobs/')) return false;
    const from = Number(/\d+/.exec(request.headers.range ?? '0')![0]);
    if (from > 0) response.writeHead(206, { 'Content-Range': `bytes ${from}-63/64`, 'Content-Length': 64 - from });
    else response.setHeader('Content-Length', 64).flushHeaders();
    response.write(bytes.subarray(from, from + 1), () => response.destroy());
    return true;
  };
  await failure(read(), 'REGISTRY_UNREACHABLE', /the connection broke/);
  assert.is(ranges().length, 3, 'as many tries as there are');
});

t('a reader that stops ends the connection', async () => {
  let ended: Promise<unknown> = Promise.resolve();
  registry.fault = (request, response) => {
    if (!request.url?.includes('/blobs/')) return false;
    ended = new Promise((resolve) => response.on('close', resolve));
    response.setHeader('Content-Length', 64).write(bytes.subarray(0, 10));
    return true;
  };
  for await (const piece of repository.blob(blob)) {
    assert.is(piece.length, 10);
    break;
  }
  await ended;
});

t.run();
