// `host:`: images of this machine's own programs, made once and made again when a program changes.

import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { failure, TestStore } from '../registry/faulty.ts';
import { inImage, scratchDirectory } from './store.ts';

const t = suite('host:');
let scratch: Awaited<ReturnType<typeof scratchDirectory>>;
let store: TestStore;
const before = process.env.PATH;

t.before(async () => {
  scratch = await scratchDirectory('host');
});
t.after(() => scratch.remove());
t.before.each(async () => {
  store = await TestStore.make();
});
t.after.each(async () => {
  process.env.PATH = before;
  await store.close();
});

t('programs and their libraries run with nothing else there', async () => {
  const image = await store.images.ensure('host:bash,ls');
  assert.is(image.layers.length, 1);
  assert.is(image.reference, 'host:bash,ls');
  assert.equal(image.config.config?.Cmd, ['bash']);
  assert.is(await inImage(image, "chroot . /usr/bin/env true 2>/dev/null || chroot . bash -c 'ls -d /etc'"), '/etc\n');
  const [line] = store.images.list();
  assert.equal([line?.repository, line?.tag], ['host', 'bash,ls']);
  assert.equal(store.images.inspect('host:bash,ls').RepoTags, ['host:bash,ls']);
});

t('the second time nothing is made', async () => {
  const first = await store.images.ensure('host:ls');
  const contents = store.contents();
  assert.equal(await store.images.ensure('host:ls'), first);
  assert.equal(store.contents(), contents);
});

t('asked for by many at once, it is made once', async () => {
  const all = await Promise.all(Array.from({ length: 8 }, () => store.images.pull('host:ls')));
  assert.is(new Set(all.map(({ id }) => id)).size, 1);
  assert.is(all.filter(({ changed }) => changed).length, 1);
  // A tree and its recipe.
  assert.is(store.contents().filter((name) => name.startsWith('layers/')).length, 2);
});

t('the same programs are the same layer under another name', async () => {
  const one = await store.images.ensure('host:ls,bash');
  const two = await store.images.ensure('host:bash,ls');
  assert.equal(one.layers, two.layers);
  assert.equal([one.config.config?.Cmd, two.config.config?.Cmd], [['ls'], ['bash']]);
});

t('a program that changes makes a new image', async () => {
  const directory = join(scratch.path, 'bin');
  mkdirSync(directory);
  copyFileSync('/bin/busybox', join(directory, 'changing'));
  process.env.PATH = `${directory}:${before}`;
  const { images } = store;
  const first = await images.ensure('host:changing');
  writeFileSync(join(directory, 'changing'), '#!/bin/sh\necho changed\n');
  chmodSync(join(directory, 'changing'), 0o755);
  const second = await images.ensure('host:changing');
  assert.is.not(second.id, first.id);
  assert.match(second.config.config?.Env?.[0] ?? '', new RegExp(`^PATH=/usr/local/sbin:.*:${directory}$`));
  assert.is(await inImage(second, `cat .${directory}/changing`), '#!/bin/sh\necho changed\n');
  assert.equal(await images.ensure('host:changing', { pull: 'never' }), second);
});

t('a program of that name earlier in PATH is the one meant from then on', async () => {
  const directory = join(scratch.path, 'earlier');
  mkdirSync(directory);
  process.env.PATH = `${directory}:${before}`;
  const first = await store.images.ensure('host:ls');
  copyFileSync('/bin/cat', join(directory, 'ls'));
  assert.is.not((await store.images.ensure('host:ls')).id, first.id);
});

t('a directory of PATH that was not there, or is a link, counts as much', async () => {
  const [missing, real, link] = ['missing', 'real', 'link'].map((name) => join(scratch.path, name)) as [
    string,
    string,
    string,
  ];
  mkdirSync(real);
  symlinkSync(real, link);
  process.env.PATH = `${missing}:${link}:${before}`;
  const ids = [(await store.images.ensure('host:ls')).id];
  copyFileSync('/bin/cat', join(real, 'ls'));
  ids.push((await store.images.ensure('host:ls')).id);
  mkdirSync(missing);
  copyFileSync('/bin/true', join(missing, 'ls'));
  ids.push((await store.images.ensure('host:ls')).id);
  assert.is(new Set(ids).size, 3);
});

t('a pull makes it again where a link on the way to it has changed, and not otherwise', async () => {
  const directory = join(scratch.path, 'alternatives');
  mkdirSync(directory);
  for (const name of ['one', 'two']) writeFileSync(join(directory, name), `#!/bin/sh\necho ${name}\n`, { mode: 0o755 });
  symlinkSync('one', join(directory, 'chosen'));
  mkdirSync(join(directory, 'bin'));
  symlinkSync('../chosen', join(directory, 'bin', 'tool'));
  process.env.PATH = `${join(directory, 'bin')}:${before}`;
  const first = await store.images.pull('host:tool');
  assert.equal((await store.images.pull('host:tool')).changed, false);
  rmSync(join(directory, 'chosen'));
  symlinkSync('two', join(directory, 'chosen'));
  const second = await store.images.pull('host:tool');
  assert.is.not(second.id, first.id);
  assert.is(await inImage(second, `cat .${directory}/bin/tool`), '#!/bin/sh\necho two\n');
});

t('another executable than the one that made it makes it again', async () => {
  const first = await store.images.ensure('host:ls');
  const memory = join(store.root, 'cache/host', `${encodeURIComponent('host:ls')}.json`);
  const { ino } = statSync(memory);
  const known = JSON.parse(readFileSync(memory, 'utf8')) as { deciding: { path: string }[] };
  const own = known.deciding.find(({ path }) => path.endsWith('/kapsel-runtime'))!;
  own.path = join(scratch.path, 'kapsel-runtime'); // An older installation, which is there as it was.
  writeFileSync(memory, JSON.stringify(known));
  assert.is((await store.images.ensure('host:ls')).id, first.id);
  assert.is.not(statSync(memory).ino, ino);
});

t('--pull always makes it again', async () => {
  const first = await store.images.ensure('host:ls');
  const memory = join(store.root, 'cache/host', `${encodeURIComponent('host:ls')}.json`);
  const made = () => statSync(memory).ino;
  const before = made();
  await store.images.ensure('host:ls');
  assert.is(made(), before);
  assert.is((await store.images.ensure('host:ls', { pull: 'always' })).id, first.id);
  assert.is.not(made(), before);
});

t('the usual programs, as far as this machine has them', async () => {
  const image = await store.images.ensure('host:');
  assert.equal(image.config.config?.Cmd, ['bash']);
  const found = await inImage(
    image,
    "chroot . bash -c 'for p in ls ps hostname id mount cat; do type $p; done' 2>&1 | wc -l",
  );
  assert.is(found.trim(), '6');
  if (existsSync('/usr/sbin/ip') || existsSync('/bin/ip'))
    assert.match(await inImage(image, 'chroot . ip -V'), /iproute2/);
});

t('no program of the host runs while an image is made of it', async () => {
  const directory = join(scratch.path, 'traps');
  mkdirSync(directory);
  const trace = join(scratch.path, 'ran');
  writeFileSync(join(directory, 'trap'), `#!/bin/sh\necho ran > ${trace}\n`);
  chmodSync(join(directory, 'trap'), 0o755);
  await store.images.ensure(`host:${directory}/trap`);
  assert.not(existsSync(trace));
});

t('a program that is not there, and names that are none', async () => {
  await failure(store.images.ensure('host:bash,no-such-program'), 'HOST_PROGRAM_NOT_FOUND', /no-such-program/);
  for (const reference of ['host:-x', 'host:a,,b', 'host:a b', 'host:a\0b', 'host:$(id)']) {
    await failure(store.images.ensure(reference), 'REFERENCE_INVALID', /no program/);
  }
  await failure(store.images.ensure('host:ls', { pull: 'never' }), 'IMAGE_NOT_FOUND', /No such image: host:ls/);
  assert.equal(store.contents(), []);
});

t('of another platform there are none', async () => {
  const other = process.arch === 'arm64' ? 'linux/amd64' : 'linux/arm64';
  await store.images.ensure('host:ls');
  for (const pull of ['always', 'missing', 'never'] as const) {
    await failure(
      store.images.ensure('host:ls', { pull, platform: other }),
      'PLATFORM_NOT_FOUND',
      /host:ls .*is for linux/,
    );
  }
  await failure(store.images.pull('host:ls', { platform: other }), 'PLATFORM_NOT_FOUND');
  await failure(store.images.pull('host:ls', { platform: 'no/such/thing/at/all' }), 'PLATFORM_INVALID');
});

t('removed like any other', async () => {
  await store.images.ensure('host:ls');
  assert.equal((await store.images.remove('host:ls'))[0], { untagged: 'host:ls' });
  assert.equal(store.contents(), []);
  assert.ok(await store.images.ensure('host:ls'));
});

t('an ordinary cost: the check of an image that is there starts no process', async () => {
  await store.images.ensure('host:bash,ls');
  const path = new URL('../../src/', import.meta.url).href;
  const code = `
    const { Images } = await import('${path}engine/images.ts');
    const { Database } = await import('${path}native.ts');
    const images = new Images({ root: '${store.root}', database: new Database('${store.root}/kapsel.db') });
    await images.ensure('host:bash,ls');`;
  const log = join(scratch.path, 'strace');
  execFileSync('strace', [
    '-f',
    '-qq',
    '-e',
    'trace=execve',
    '-o',
    log,
    process.execPath,
    '--input-type=module',
    '-e',
    code,
  ]);
  assert.is(execFileSync('grep', ['-c', 'execve(', log], { encoding: 'utf8' }).trim(), '1');
});

t.run();
