// `save` and `push`: what leaves the store is what came into it, and others can read it.
// deadline: 240

import { execFileSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { busyboxFacts, busyboxLayers, ociLayout } from '../harness/images.ts';
import { skopeo, TestRegistry } from '../harness/registry.ts';
import { type TestEngine, testEngine } from '../harness/engine.ts';
import { tarHeader } from '../../src/engine/images/transports/tar.ts';
import type { SaveFormat } from '../../src/engine/images.ts';
import { failure, TestStore } from '../registry/faulty.ts';
import { inImage, scratchDirectory } from './store.ts';

const t = suite('save');
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let registry: TestRegistry;
let test: TestEngine;
let number = 0;

const fresh = () => join(scratch.path, `${++number}`);
const named = (name: string) => `${registry.host}/${name}`;

t.before(async () => {
  scratch = await scratchDirectory('save');
  registry = await TestRegistry.start();
  const layers = await busyboxLayers(scratch.path);
  const layout = join(scratch.path, 'layout');
  await ociLayout(layout, [{ layers, config: busyboxFacts.config, name: 'it' }]);
  await registry.push(`oci:${layout}:it`, 'first:1');
  const other = join(scratch.path, 'other');
  await ociLayout(other, [{ layers: layers.slice(0, 2), config: { Cmd: ['ls'] }, name: 'it', compression: 'zstd' }]);
  await registry.push(`oci:${other}:it`, 'second:1');
  test = await testEngine();
  await test.engine.images.pull(named('first:1'));
  await test.engine.images.pull(named('second:1'));
});
t.after(async () => {
  await test.close();
  await registry.close();
  await scratch.remove();
});

const members = (tar: string) =>
  execFileSync('tar', ['--list', '--file', tar], { encoding: 'utf8' }).trim().split('\n');
const id = (name: string) => test.engine.images.inspect(name).Id;
/** What skopeo finds: the digest of the config, and those of the layers' tars. */
async function config(place: string): Promise<{ rootfs: { diff_ids: string[] }; config: object }> {
  const tls = place.startsWith('docker:') ? ['--tls-verify=false'] : [];
  return JSON.parse(await skopeo('inspect', '--config', ...tls, place)) as never;
}

t('docker save’s archive: layers are their own tars, those of two images once', async () => {
  const path = fresh();
  const { images } = test.engine;
  await images.save([named('first:1'), named('second:1')], path);
  const { Layers } = images.inspect(named('first:1')).RootFS;
  const names = members(path);
  assert.equal(
    names.filter((name) => name.endsWith('.tar')).sort(),
    Layers.map((diffId) => `${diffId.slice(7)}.tar`).sort(),
  );
  for (const diffId of Layers) {
    const sum = execFileSync('sh', ['-c', `tar -xOf "$0" "$1" | sha256sum`, path, `${diffId.slice(7)}.tar`], {
      encoding: 'utf8',
    });
    assert.is(`sha256:${sum.slice(0, 64)}`, diffId);
  }
  for (const name of ['first:1', 'second:1']) {
    const target = `dir:${fresh()}`;
    await skopeo('copy', `docker-archive:${path}:${named(name)}`, target);
    assert.equal((await config(target)).rootfs.diff_ids, images.inspect(named(name)).RootFS.Layers);
  }
  const store = await TestStore.make();
  try {
    const loaded = await store.images.load(path);
    assert.equal(
      loaded,
      ['first:1', 'second:1'].map((name) => ({ id: id(named(name)), references: [named(name)] })),
    );
    const image = store.images.resolve(named('first:1'))!;
    assert.is(await inImage(image, 'cat data/kept && ls data'), 'kept\nkept\nopaque\n');
  } finally {
    await store.close();
  }
});

t('every format is read by skopeo and loaded again with the same id', async () => {
  const formats: [SaveFormat, string][] = [
    ['docker-archive', 'docker-archive'],
    ['oci-archive', 'oci-archive'],
    ['oci-dir', 'oci'],
    ['docker-dir', 'dir'],
  ];
  for (const [format, transport] of formats) {
    const path = fresh();
    await test.engine.images.save([named('first:1')], path, { format });
    assert.equal((await config(`${transport}:${path}`)).config, busyboxFacts.config, format);
    await skopeo('copy', `${transport}:${path}`, `dir:${fresh()}`);
    const store = await TestStore.make();
    try {
      const [loaded] = await store.images.load(path);
      assert.is(loaded?.id, id(named('first:1')), `${format}, loaded`);
      await store.images.copy(`${transport}:${path}`, 'back:1');
      assert.is(store.images.inspect('back:1').Id, id(named('first:1')), format);
    } finally {
      await store.close();
    }
  }
});

t('the same images make the same archive, in a file or through a pipe', async () => {
  const [one, two] = [fresh(), fresh()];
  await test.engine.images.save([named('first:1')], one, { format: 'oci-archive' });
  const { exitCode, stderr } = await test.kapsel(['save', '-o', two, '--format', 'oci-archive', named('first:1')]);
  assert.is(exitCode, 0, stderr);
  const bytes = await readFile(one);
  assert.ok(bytes.equals(await readFile(two)));
  const { KAPSEL_ROOT = '', KAPSEL_RUN_ROOT = '' } = test.env;
  const cli = new URL('../../dist/kapsel.js', import.meta.url).pathname;
  const args = [cli, 'save', '--format', 'oci-archive', named('first:1')];
  const piped = execFileSync(process.execPath, args, {
    env: { ...process.env, KAPSEL_ROOT, KAPSEL_RUN_ROOT },
    maxBuffer: 1 << 28,
  });
  assert.ok(bytes.equals(piped));
});

t('a layer of more than eight GiB has its size in a header that others read', () => {
  const script = `import sys, tarfile
for _ in range(2):
    one = tarfile.TarInfo.frombuf(sys.stdin.buffer.read(512), "utf-8", "strict")
    print(one.name, one.size, oct(one.mode), one.isfile())`;
  const input = Buffer.concat([tarHeader('small.tar', 1_048_577), tarHeader('large.tar', 9_000_000_000_123)]);
  const read = execFileSync('python3', ['-c', script], { input, encoding: 'utf8' });
  assert.is(read, 'small.tar 1048577 0o644 True\nlarge.tar 9000000000123 0o644 True\n');
});

t('a bare name stands for its tags; an id has none', async () => {
  const { images } = test.engine;
  images.tag(named('first:1'), 'tagged:a');
  images.tag(named('second:1'), 'tagged:b');
  const path = fresh();
  await images.save(['tagged'], path);
  const manifest = () =>
    JSON.parse(execFileSync('tar', ['-xOf', path, 'manifest.json'], { encoding: 'utf8' })) as { RepoTags: string[] }[];
  assert.equal(
    manifest()
      .map(({ RepoTags }) => RepoTags)
      .flat()
      .sort(),
    ['tagged:a', 'tagged:b'],
  );
  await images.save([id('tagged:a')], path);
  assert.equal(
    manifest().map(({ RepoTags }) => RepoTags),
    [null],
  );
  await failure(images.save(['tagged:a', 'none:1'], path), 'IMAGE_NOT_FOUND');
  await images.remove('tagged:a');
  await images.remove('tagged:b');
});

t('what cannot be written is said in one line, and nothing is there', async () => {
  const { images } = test.engine;
  await failure(images.save([named('first:1')], join(scratch.path, 'no/such/directory')), 'OUTPUT_REFUSED');
  await failure(images.save([named('first:1')], '/dev/full'), 'DISK_FULL');
  const before = await test.census();
  const stop = new AbortController();
  const path = fresh();
  const saving = images.save([named('first:1')], path, { signal: stop.signal });
  stop.abort();
  await failure(saving, 'ABORTED');
  assert.equal(await test.census(), before);
});

t('a push sends what the registry lacks, and the image keeps its id', async () => {
  const { images } = test.engine;
  images.tag(named('first:1'), named('pushed/app:1'));
  const phases: string[] = [];
  const pushed = await images.push(named('pushed/app:1'), { onProgress: ({ phase }) => phases.push(phase) });
  // The registry has these layers in another repository, and takes them over.
  assert.equal(
    phases.filter((phase) => phase !== 'waiting'),
    Array(busyboxFacts.layers).fill('mounted'),
  );
  const { RepoDigests } = images.inspect(named('pushed/app:1'));
  assert.ok(RepoDigests.includes(`${named('pushed/app')}@${pushed.digest}`));
  assert.equal((await config(`docker://${named('pushed/app:1')}`)).config, busyboxFacts.config);
  const store = await TestStore.make();
  try {
    const pulled = await store.images.pull(named('pushed/app:1'));
    assert.is(pulled.id, id(named('first:1')));
    assert.is(pulled.digest, pushed.digest);
  } finally {
    await store.close();
  }
});

t('layers that no registry has are packed; the next push finds them there', async () => {
  const { images } = test.engine;
  const tar = join(scratch.path, 'root.tar');
  execFileSync('tar', ['--create', '--file', tar, '-C', scratch.path, 'layout']);
  const made = await images.import(tar, { reference: named('made:1'), changes: ['CMD ["sh"]'] });
  const one = await TestRegistry.start();
  try {
    // It has the other form already: what was asked for is what comes.
    for (const compression of ['gzip', 'zstd'] as const) {
      images.tag(made, `${one.host}/made:${compression}`);
      await images.push(`${one.host}/made:${compression}`, { compression });
      const raw = await skopeo('inspect', '--raw', '--tls-verify=false', `docker://${one.host}/made:${compression}`);
      assert.match(raw, new RegExp(`tar\\+${compression}"`));
    }
  } finally {
    await one.close();
  }
  for (const compression of ['gzip', 'zstd'] as const) {
    const name = named(`made/${compression}:1`);
    images.tag(made, name);
    const phases = new Set<string>();
    // A registry of its own has none of the forms that another has.
    const other = await TestRegistry.start();
    try {
      const there = `${other.host}/made:${compression}`;
      images.tag(made, there);
      await images.push(there, { compression, onProgress: ({ phase }) => phases.add(phase) });
      assert.ok(phases.has('pushing') && phases.has('pushed'));
      const raw = await skopeo('inspect', '--raw', '--tls-verify=false', `docker://${there}`);
      const { layers } = JSON.parse(raw) as { layers: { mediaType: string }[] };
      assert.ok(layers[0]?.mediaType.endsWith(`+${compression}`));
      assert.equal((await config(`docker://${there}`)).rootfs.diff_ids, images.inspect(made).RootFS.Layers);
      await skopeo('copy', '--src-tls-verify=false', `docker://${there}`, `dir:${fresh()}`);
      const again = new Set<string>();
      await images.push(there, { compression, onProgress: ({ phase }) => again.add(phase) });
      assert.equal([...again].sort(), ['exists', 'waiting']);
    } finally {
      await other.close();
    }
  }
});

t('docker’s last line, all tags, and what cannot be pushed', async () => {
  const { images } = test.engine;
  for (const tag of ['a', 'b']) images.tag(named('first:1'), named(`all:${tag}`));
  const { exitCode, stdout, stderr } = await test.kapsel(['push', '--all-tags', named('all')]);
  assert.is(exitCode, 0, stderr);
  assert.match(stdout, /^a: digest: sha256:[0-9a-f]{64} size: \d+\nb: digest: sha256:[0-9a-f]{64} size: \d+\n$/);
  const pulled = await test.kapsel(['pull', '-aq', named('all')]);
  assert.is(pulled.exitCode, 0, pulled.stderr);
  assert.is(pulled.stdout, `${named('all:a')}\n${named('all:b')}\n`);
  assert.is((await test.kapsel(['push', named('none:1')])).exitCode, 1);
  await failure(images.push(id(named('first:1'))), 'REFERENCE_INVALID', /tag it first/);
  const both = await test.kapsel(['push', '-a', named('all:a')]);
  assert.is(both.stderr, "kapsel: tag can't be used with --all-tags/-a\n");
});

t.run();
