// What one image costs: each layer fetched once however many processes want it, one sync of the disk for all its layers.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { KapselError } from '../../src/index.ts';
import { busyboxFacts, busyboxLayers, ociLayout } from '../harness/images.ts';
import { FaultyRegistry, sendBlob, sendManifest, TestStore } from '../registry/faulty.ts';
import { inImage, scratchDirectory } from './store.ts';

const t = suite('one pull');
const puller = new URL('puller.ts', import.meta.url).pathname;
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let registry: FaultyRegistry;
let store: TestStore;

t.before(async () => {
  scratch = await scratchDirectory('one-pull');
  const layers = await busyboxLayers(scratch.path);
  const layout = await ociLayout(join(scratch.path, 'layout'), [{ layers, config: busyboxFacts.config }]);
  registry = await new FaultyRegistry(layout).start();
});
t.after(async () => {
  await registry.close();
  await scratch.remove();
});
t.before.each(async () => {
  registry.reset();
  store = await TestStore.make();
});
t.after.each(() => store.close());

const reference = () => `${registry.host}/a/busybox:1`;

t('eight processes that pull one image fetch and make each layer once', async () => {
  const waiting: (() => void)[] = [];
  registry.fault = (request, response) => {
    const layer = registry.manifest.layers.find(({ digest }) => request.url?.endsWith(digest));
    // No layer goes out before all of them know which they want: there is no first that has it all when the others come.
    if (layer) waiting.push(() => sendBlob(response, registry.blob(layer.digest)));
    if (registry.count('/manifests/1') >= 8) for (const send of waiting.splice(0)) setTimeout(send, 200);
    return layer !== undefined;
  };
  const pullers = Array.from({ length: 8 }, () =>
    spawn(process.execPath, [puller, store.root, reference()], { stdio: ['ignore', 'ignore', 'inherit'] }),
  );
  const statuses = await Promise.all(pullers.map(async (one) => (await once(one, 'exit'))[0] as number));
  assert.equal(new Set(statuses), new Set([0]));
  for (const { digest } of registry.manifest.layers) assert.is(registry.count(digest), 1, digest);
  assert.is(await inImage(store.images.resolve(reference())!, 'cat data/kept'), 'kept\n');
  const names = store.contents().filter((name) => name.startsWith('layers/') || name.startsWith('tmp/'));
  assert.is(names.length, 2 * busyboxFacts.layers, names.join());
});

t('a pull of what is all there asks for the manifest alone', async () => {
  assert.is((await store.images.pull(reference())).changed, true);
  assert.is(registry.count('/blobs/'), 1 + busyboxFacts.layers);
  registry.reset();
  assert.is((await store.images.pull(reference())).changed, false);
  assert.equal([registry.count('/manifests/1'), registry.count('/blobs/')], [1, 0]);
});

t('a config that is there already must be as long as a manifest says all the same', async () => {
  await store.images.pull(reference());
  const { manifest } = registry;
  manifest.config.size += 1;
  registry.fault = ({ url }, response) => {
    if (!url?.endsWith('/manifests/1')) return false;
    sendManifest(response, Buffer.from(JSON.stringify(manifest)));
    return true;
  };
  const refused = await store.images.pull(reference()).then(
    () => undefined,
    (error: KapselError) => error.code,
  );
  assert.is(refused, 'SIZE_MISMATCH');
});

// A crash of the machine in between: containerd's issue 14164 is of layers whose files are empty afterwards.
t(
  'all layers are on the disk by one syncfs, then have their names, then those are on the disk, then there are rows',
  async () => {
    const log = join(scratch.path, 'calls');
    const calls = 'syncfs,fsync,rename,renameat,renameat2,pwrite64';
    const traced = spawn('strace', [
      '-fyqq',
      '-e',
      `trace=${calls}`,
      '-o',
      log,
      process.execPath,
      puller,
      store.root,
      reference(),
    ]);
    assert.is((await once(traced, 'exit'))[0], 0);
    const layers = join(store.root, 'layers');
    const seen = readFileSync(log, 'utf8')
      .split('\n')
      .flatMap((line) => {
        if (/ syncfs\(/.test(line)) return ['syncfs'];
        if (/ rename\w*\(/.test(line) && line.includes(`"${layers}/`)) return ['rename'];
        if (/ fsync\(/.test(line) && line.includes(`<${layers}>`)) return ['fsync'];
        return / pwrite64\(/.test(line) && line.includes('kapsel.db-wal') ? ['row'] : [];
      });
    const from = seen.indexOf('syncfs');
    const named = Array.from({ length: 2 * busyboxFacts.layers }, () => 'rename');
    assert.equal(seen.slice(from, from + named.length + 3), ['syncfs', ...named, 'fsync', 'row'], seen.join());
    assert.equal(seen.filter((call) => call !== 'row').length, named.length + 2, seen.join());
  },
);

t.run();
