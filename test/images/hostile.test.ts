// Layers that want out of their tree, pulled and imported: refused in one line or kept inside, and nothing of the host touched.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, lstatSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { removeTrees } from '../../src/engine/images/worker.ts';
import { testEngine } from '../harness/engine.ts';
import { busyboxLayers, debianTar, ociLayout, tree } from '../harness/images.ts';
import { failure, FaultyRegistry, TestStore } from '../registry/faulty.ts';
import { scratchDirectory } from './store.ts';

const t = suite('hostile layers');
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let store: TestStore;

t.before(async () => {
  scratch = await scratchDirectory('hostile');
});
t.after(() => scratch.remove());
t.before.each(async () => {
  store = await TestStore.make();
});
t.after.each(() => store.close());

/** A tar by Python's tarfile, which writes whatever it is told: name, type and link of each entry. */
function tarOf(
  name: string,
  entries: [name: string, type: 'file' | 'dir' | 'sym' | 'link' | 'chr', link?: string][],
): string {
  const path = join(scratch.path, `${name}.tar`);
  const script = `
import io, json, sys, tarfile
types = {'file': tarfile.REGTYPE, 'dir': tarfile.DIRTYPE, 'sym': tarfile.SYMTYPE, 'link': tarfile.LNKTYPE, 'chr': tarfile.CHRTYPE}
with tarfile.open(sys.argv[1], 'w') as tar:
    for name, kind, link in json.loads(sys.argv[2]):
        info = tarfile.TarInfo(name)
        info.type, info.linkname, info.mode = types[kind], link or '', 0o755
        info.devmajor, info.devminor = 8, 0
        data = b'evil' if kind == 'file' else b''
        info.size = len(data)
        tar.addfile(info, io.BytesIO(data))
`;
  execFileSync('python3', [
    '-c',
    script,
    path,
    JSON.stringify(entries.map(([one, type, link]) => [one, type, link ?? null])),
  ]);
  return path;
}

const target = () => join(scratch.path, 'victim');

const escapes: [name: string, entries: () => Parameters<typeof tarOf>[1]][] = [
  ['climbs', () => [[`../../../../../../../..${target()}`, 'file']]],
  ['absolute', () => [[target(), 'file']]],
  [
    'through-a-link',
    () => [
      ['out', 'sym', scratch.path],
      ['out/victim', 'file'],
    ],
  ],
  [
    'through-a-climbing-link',
    () => [
      ['out', 'sym', `../../../../../..${scratch.path}`],
      ['out/victim', 'file'],
    ],
  ],
  [
    'hard-link-outside',
    () => [
      ['in', 'link', target()],
      ['in', 'file'],
    ],
  ],
  [
    'hard-link-through-a-link',
    () => [
      ['out', 'sym', scratch.path],
      ['in', 'link', 'out/victim'],
    ],
  ],
  ['whiteout-that-climbs', () => [['../.wh.victim', 'file']]],
  ['whiteout-of-dots', () => [['.wh...', 'file']]],
  ['absolute-whiteout', () => [[join(scratch.path, '.wh.victim'), 'file']]],
  ['absolute-opaque', () => [[join(scratch.path, '.wh..wh..opq'), 'file']]],
  ['opaque-that-climbs', () => [[`../../../../../../..${scratch.path}/.wh..wh..opq`, 'file']]],
  ...['whiteout', 'opaque'].flatMap((kind): typeof escapes =>
    ['', '../../../../../..'].map((climb) => [
      `${kind}-through-a${climb && '-climbing'}-link`,
      () => [
        ['out', 'sym', `${climb}${scratch.path}`],
        [kind === 'opaque' ? 'out/.wh..wh..opq' : 'out/.wh.victim', 'file'],
      ],
    ]),
  ),
];
/** The names of a directory's extended attributes, one of which makes it opaque. */
const marks = (path: string) =>
  execFileSync('python3', ['-c', 'import os, sys; print(os.listxattr(sys.argv[1]))', path]).toString();
for (const [name, entries] of escapes) {
  t(`${name}: what is outside stays as it was`, async () => {
    writeFileSync(target(), 'untouched');
    const outside = () => ({
      names: readdirSync('/').join(),
      links: lstatSync(target()).nlink,
      marks: [scratch.path, '/'].map(marks),
    });
    const before = outside();
    const tar = tarOf(name, entries());
    const layout = await ociLayout(join(scratch.path, `layout-${name}`), [{ layers: [tar] }]);
    const registry = await new FaultyRegistry(layout).start();
    try {
      const outcome = await store.images.pull(`${registry.host}/evil:1`).then(
        () => 'kept inside',
        (error: Error & { code: string }) => {
          assert.match(error.code, /^LAYER_/);
          assert.match(error.message, /^layer sha256:[0-9a-f]{64} of 127\.0\.0\.1:\d+\/evil:1: [^\n]+$/);
          return 'refused';
        },
      );
      assert.is(readFileSync(target(), 'utf8'), 'untouched');
      assert.equal(outside(), before);
      if (outcome === 'refused') assert.equal(store.contents(), []);
      else assert.is(store.images.list().length, 1);
    } finally {
      await registry.close();
    }
  });
}

t('a bomb of nested names and a device are no reason to fall', async () => {
  const deep = Array.from({ length: 200 }, (_, index): [string, 'dir'] => [
    Array(index + 1)
      .fill('d')
      .join('/'),
    'dir',
  ]);
  const id = await store.images.import(tarOf('deep', [...deep, ['disk', 'chr']]));
  await store.images.remove(id);
  assert.equal(store.contents(), []);
});

t('devices of an image are no way to those of the host', async () => {
  const numbers = { null: 'c 1 3', mem: 'c 1 1', kmsg: 'c 1 11', tty: 'c 4 1', loop: 'b 7 0', disk: 'b 8 0' };
  const tar = await tree(scratch.path, 'devices', async (root) => {
    execFileSync('mkdir', ['-p', join(root, 'bin'), join(root, 'nodes')]);
    execFileSync('cp', ['/bin/busybox', join(root, 'bin')]);
    for (const [name, number] of Object.entries(numbers)) {
      execFileSync('mknod', ['-m', '666', join(root, 'nodes', name), ...number.split(' ')]);
    }
  });
  const test = await testEngine();
  try {
    await test.engine.images.import(tar, { reference: 'devices:1' });
    const opened = async (name: string) => {
      const program = ['/bin/busybox', 'head', '-c', '0', `/nodes/${name}`];
      return await test.engine.containers.run('devices:1', { command: program, capAdd: ['ALL'] });
    };
    // What every container has it may have by another name.
    assert.is((await opened('null')).exitCode, 0);
    for (const name of Object.keys(numbers).slice(1)) {
      const { exitCode, stderr } = await opened(name);
      assert.is.not(exitCode, 0, name);
      assert.match(stderr, new RegExp(`/nodes/${name}: Operation not permitted\n$`));
    }
  } finally {
    await test.close();
  }
});

/** A process that does `work` with `images`, as a command would. */
function working(work: string): ReturnType<typeof spawn> {
  const path = (file: string) => JSON.stringify(new URL(`../../src/${file}`, import.meta.url).href);
  const code = `
    const { Images } = await import(${path('engine/images.ts')});
    const { Database } = await import(${path('native.ts')});
    const images = new Images({ root: '${store.root}', database: new Database('${store.root}/kapsel.db') });
    await ${work};`;
  return spawn(process.execPath, ['--input-type=module', '-e', code], { stdio: ['ignore', 'ignore', 'inherit'] });
}

t('load and import killed at any moment: the next one cleans up after them', async () => {
  const debian = await debianTar();
  const [small] = (await busyboxLayers(scratch.path)) as [string];
  const layout = await ociLayout(join(scratch.path, 'saved'), [{ layers: [debian], compression: 'none', name: 'x:1' }]);
  const saved = join(scratch.path, 'saved.tar');
  execFileSync('tar', ['--create', '--file', saved, '-C', layout, '.']);
  let interrupted = 0;
  for (const work of [`images.load('${saved}')`, `images.import('${debian}')`]) {
    for (const delay of [80, 150, 250, 400]) {
      const child = working(work);
      const ended = once(child, 'exit');
      setTimeout(() => child.kill('SIGKILL'), delay);
      if ((await ended)[1] === 'SIGKILL') interrupted++;
    }
  }
  assert.ok(interrupted > 0);
  for (const { id } of store.images.list()) await store.images.remove(id, { force: true });
  const id = await store.images.import(small);
  await failure(store.images.load(join(scratch.path, 'missing')), 'ARCHIVE_UNREADABLE');
  await store.images.remove(id);
  const left = store.contents().filter((name) => name.startsWith('layers/.') || name.startsWith('tmp/'));
  assert.equal(left, []);
  assert.not(existsSync(join(store.root, 'layers', '.lock')));
});

t('a tree that is still written to for a moment is removed all the same', async () => {
  const path = join(scratch.path, 'busy');
  const script =
    'i=0; end=$(($(date +%s%N) + 300000000)); while [ $(date +%s%N) -lt $end ]; do i=$((i+1)); mkdir -p "$0/$i/x"; done';
  execFileSync('mkdir', [path]);
  const writer = spawn('sh', ['-c', script, path], { stdio: 'ignore' });
  const ended = once(writer, 'exit');
  await new Promise((resolve) => setTimeout(resolve, 50));
  await removeTrees([path]);
  await ended;
  await removeTrees([path]);
  assert.not(existsSync(path));
});

t.run();
