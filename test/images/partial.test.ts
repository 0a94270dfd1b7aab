// Downloads that survive: what a killed or broken pull has fetched is not fetched again, and is believed no more than the network.

import { type ChildProcess, spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import {
  closeSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Downloads } from '../../src/engine/images/downloads.ts';
import { tryLock } from '../../src/native.ts';
import { busyboxFacts, busyboxLayers, ociLayout, tree } from '../harness/images.ts';
import { failure, FaultyRegistry, sendBlob, TestStore } from '../registry/faulty.ts';

const t = suite('partial downloads');
let directory: string;
let registry: FaultyRegistry;
let store: TestStore;

const bulk = randomBytes(6 << 20);

t.before(async () => {
  directory = await mkdtemp(join(process.env.KAPSEL_TEST_SCRATCH ?? tmpdir(), 'partial-'));
  const large = await tree(directory, 'large', async (root) => writeFileSync(join(root, 'bulk'), bulk));
  const layers = [...(await busyboxLayers(directory)), large];
  const layout = await ociLayout(join(directory, 'layout'), [{ layers, config: busyboxFacts.config }]);
  registry = await new FaultyRegistry(layout).start();
});
t.after(async () => {
  await registry.close();
  await rm(directory, { recursive: true, force: true });
});
t.before.each(async () => {
  registry.reset();
  served = 0;
  store = await TestStore.make();
});
t.after.each(() => store.close());

const reference = () => `${registry.host}/a/large:1`;
const layer = () => registry.manifest.layers.at(-1)!;
const partial = () => join(store.root, 'partial', layer().digest.slice(7));
const contents = () => (existsSync(join(store.root, 'partial')) ? readdirSync(join(store.root, 'partial')) : []);

/** Bytes of the large layer that went out. */
let served = 0;
function counting(
  answer: (request: IncomingMessage, response: ServerResponse, bytes: Buffer, seen: number) => void,
): void {
  registry.fault = (request, response, seen) => {
    if (!request.url?.endsWith(layer().digest)) return false;
    const { write, end } = response;
    const count = (piece: unknown): void => {
      if (piece instanceof Uint8Array) served += piece.length;
    };
    response.write = (...args: never) => (count(args[0]), write.apply(response, args));
    response.end = (...args: never) => (count(args[0]), end.apply(response, args));
    answer(request, response, registry.blob(layer().digest), seen);
    return true;
  };
}

const honestly = (request: IncomingMessage, response: ServerResponse, bytes: Buffer): void =>
  sendBlob(response, bytes, request.headers.range);

/** Sends the beginning and then nothing more. */
const stalling =
  (at: number) =>
  (_: IncomingMessage, response: ServerResponse, bytes: Buffer): void => {
    response.setHeader('Content-Length', bytes.length);
    response.write(bytes.subarray(0, at));
  };

async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await sleep(5);
}

function puller(): ChildProcess {
  const script = new URL('puller.ts', import.meta.url).pathname;
  return spawn(process.execPath, [script, store.root, reference()], { stdio: 'ignore' });
}

async function kill(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL');
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
}

async function complete(): Promise<void> {
  const { layers } = await store.images.pull(reference());
  assert.is(layers.length, busyboxFacts.layers + 1);
  assert.ok(readFileSync(join(layers[0]!, 'bulk')).equals(bulk));
  assert.equal(contents(), [], 'nothing is kept of what is there');
}

t('a pull that was killed is continued by the next', async () => {
  const begun = 4 << 20;
  counting(stalling(begun));
  const child = puller();
  await until(() => existsSync(partial()) && statSync(partial()).size === begun);
  await kill(child);
  served = 0;
  counting(honestly);
  await complete();
  assert.is(served, layer().size - begun);
});

t('killed again and again, every byte is sent once', async () => {
  let sent = 0;
  for (const at of [1 << 20, 3 << 20, 5 << 20]) {
    counting((request, response, bytes) => {
      const from = Number(/\d+/.exec(request.headers.range ?? '0')?.[0]);
      if (from > 0) response.writeHead(206, { 'Content-Range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` });
      response.write(bytes.subarray(from, at));
    });
    const child = puller();
    await until(() => existsSync(partial()) && statSync(partial()).size === at);
    await kill(child);
    sent += served;
    served = 0;
  }
  counting(honestly);
  await complete();
  assert.is(sent + served, layer().size);
});

t('a whole blob is not asked for again, where the other layers were missing', async () => {
  const other = registry.manifest.layers[0]!.digest;
  counting(honestly);
  const whole = registry.fault;
  registry.fault = (request, response, seen) => !!request.url?.endsWith(other) || whole(request, response, seen);
  const child = puller();
  await until(() => existsSync(partial()) && statSync(partial()).size === layer().size);
  await kill(child);
  assert.is(served, layer().size);
  counting(honestly);
  await complete();
  assert.is(served, layer().size, 'nothing more');
});

t('a connection that breaks for good leaves what came, and the next pull takes it up', async () => {
  counting((_, response, bytes, seen) => {
    if (seen > 1) response.destroy();
    else response.setHeader('Content-Length', bytes.length).write(bytes.subarray(0, 3 << 20), () => response.destroy());
  });
  await failure(store.images.pull(reference()), 'REGISTRY_UNREACHABLE');
  assert.equal(store.contents(), []);
  const kept = statSync(partial()).size;
  assert.ok(kept > 1 << 20);
  served = 0;
  counting(honestly);
  await complete();
  assert.is(served, layer().size - kept);
});

function keep(bytes: Buffer): void {
  mkdirSync(join(store.root, 'partial'), { recursive: true });
  writeFileSync(partial(), bytes);
}

t('what was changed meanwhile is thrown away, and everything fetched', async () => {
  const wrong = Buffer.from(registry.blob(layer().digest).subarray(0, 3 << 20));
  wrong[2 << 20]! ^= 1;
  keep(wrong);
  counting(honestly);
  await complete();
  assert.is(served, 2 * layer().size - wrong.length);
});

for (const [name, bytes] of [
  ['zeros, as after a power cut', () => Buffer.alloc(2 << 20)],
  ['longer than the blob', () => Buffer.alloc(layer().size + 1)],
  ['as long as the blob', () => Buffer.alloc(layer().size)],
  ['empty', () => Buffer.alloc(0)],
] as const) {
  t(`a file that is ${name}`, async () => {
    keep(bytes());
    counting(honestly);
    await complete();
  });
}

t('a registry that ignores Range, and one whose answer to it is nonsense', async () => {
  keep(registry.blob(layer().digest).subarray(0, 3 << 20));
  counting((_, response, bytes) => sendBlob(response, bytes));
  await complete();
  await store.close();
  store = await TestStore.make();
  keep(registry.blob(layer().digest).subarray(0, 3 << 20));
  counting((request, response, bytes) =>
    request.headers.range ? response.writeHead(416).end() : sendBlob(response, bytes),
  );
  await complete();
});

t('a registry whose bytes are wrong is asked once, not for ever', async () => {
  counting((_, response, bytes) => sendBlob(response, Buffer.concat([bytes.subarray(1), bytes.subarray(0, 1)])));
  await failure(store.images.pull(reference()), 'LAYER_INVALID');
  assert.is(registry.count(layer().digest), 1);
  assert.not(existsSync(partial()));
});

t('a file that another process adds to is left alone', async () => {
  keep(Buffer.alloc(2 << 20));
  const held = tryLock(partial());
  assert.type(held, 'number');
  counting(honestly);
  const { layers } = await store.images.pull(reference());
  assert.ok(readFileSync(join(layers[0]!, 'bulk')).equals(bulk));
  assert.is(statSync(partial()).size, 2 << 20);
});

t('neither a small blob nor nothing is worth a file', async () => {
  const { digest, size } = registry.manifest.layers[1]!;
  const gone = (name: string): boolean => !existsSync(join(store.root, 'partial', name.slice(7)));
  registry.fault = (request, response) => {
    if (request.url?.endsWith(digest)) response.setHeader('Content-Length', size).write('x');
    else if (request.url?.endsWith(layer().digest)) response.setHeader('Content-Length', layer().size).flushHeaders();
    else return false;
    return true;
  };
  await failure(store.images.pull(reference()), 'REGISTRY_UNREACHABLE');
  assert.ok(gone(digest));
  await until(() => gone(layer().digest));
});

t('what nobody came back for in a week goes; what it takes is told', async () => {
  keep(Buffer.alloc(2 << 20, 1));
  const downloads = new Downloads(store.root);
  const size = statSync(partial()).blocks * 512;
  assert.equal(
    downloads.list().map(({ digest, size: taken }) => [digest, taken]),
    [[layer().digest, size]],
  );
  assert.is(downloads.sweep(), 0);
  const longAgo = Date.now() / 1000 - 8 * 24 * 3600;
  utimesSync(partial(), longAgo, longAgo);
  const held = tryLock(partial())!;
  assert.is(downloads.sweep(), 0, 'somebody is at it');
  closeSync(held);
  assert.is(downloads.sweep(), size);
  assert.equal(contents(), []);
});

t.run();
