// An ordinary user pulls, loads, imports and removes too, with no subordinate ids: what is on disk is that user's alone.

import { execFileSync, spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { busyboxFacts, busyboxLayers, ociLayout } from '../harness/images.ts';
import { skopeo, TestRegistry } from '../harness/registry.ts';

const t = suite('images of an ordinary user');
/** A user that no file of the system knows; the tests' own where they are not run by root. */
const uid = process.getuid!() === 0 ? 54_321 : process.getuid!();
let directory: string;
let registry: TestRegistry;

t.before(async () => {
  directory = mkdtempSync(join(tmpdir(), 'kapsel-test-rootless-'));
  chmodSync(directory, 0o755);
  const layers = await busyboxLayers(directory);
  const layout = await ociLayout(join(directory, 'layout'), [{ layers, config: busyboxFacts.config, name: 'it' }]);
  await skopeo('copy', `oci:${layout}:it`, `docker-archive:${directory}/saved.tar:example.com/saved:1`);
  registry = await TestRegistry.start();
  await registry.push(`oci:${layout}:it`, 'busybox:1');
});
t.after(async () => {
  await registry.close();
  rmSync(directory, { recursive: true, force: true });
});

/** Runs lines with `images` at hand as that user; returns what they print. */
function asUser(lines: string): string {
  const root = join(directory, 'root');
  execFileSync('mkdir', ['-p', root]);
  chownSync(root, uid, uid);
  const path = (file: string) => JSON.stringify(new URL(`../../src/${file}`, import.meta.url).href);
  const code = `
    const { Images } = await import(${path('engine/images.ts')});
    const { Database } = await import(${path('native.ts')});
    process.umask(0o077);
    const database = new Database('${root}/kapsel.db');
    const images = new Images({ root: '${root}', database });
    ${lines}
    images.close();`;
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', code], {
    ...(process.getuid!() === 0 && { uid, gid: uid }),
    env: { ...process.env, HOME: directory },
    cwd: '/',
    encoding: 'utf8',
  });
  assert.is(status, 0, stderr);
  return stdout;
}

/** The image through the kernel's overlay, in a user namespace of that user. */
function look(layers: string[], line: string): string {
  const empty = join(directory, 'empty');
  execFileSync('mkdir', ['-p', empty]);
  const script = `mount -t overlay -o ro,userxattr,lowerdir="$LOWERS" overlay "$ROOT" && cd "$ROOT" && ${line}`;
  return execFileSync('unshare', ['--user', '--map-root-user', '--mount', 'sh', '-ec', script], {
    ...(process.getuid!() === 0 && { uid, gid: uid }),
    env: { ...process.env, LOWERS: [...layers, empty].join(':'), ROOT: empty },
    encoding: 'utf8',
  });
}

t('pull: whiteouts and opaque directories work, and every file is the user’s', () => {
  const layers = JSON.parse(
    asUser(`const { layers } = await images.pull('${registry.host}/busybox:1'); console.log(JSON.stringify(layers));`),
  ) as string[];
  assert.is(
    look(layers, 'ls data data/opaque; stat -c %a . tmp'),
    'data:\nkept\nopaque\n\ndata/opaque:\nabove\n755\n1777\n',
  );
  const foreign = execFileSync('find', [...layers, '!', '-uid', String(uid)], { encoding: 'utf8' });
  assert.is(foreign, '');
});

t('what an ordinary user saves is what came in, though its layers have lost their owners', () => {
  const printed = asUser(`
    const { Engine } = await import(${JSON.stringify(new URL('../../src/index.ts', import.meta.url).href)});
    await images.pull('${registry.host}/busybox:1');
    await images.save(['${registry.host}/busybox:1'], '${directory}/root/out.tar');
    const engine = new Engine({ root: '${directory}/root', runRoot: '${directory}/root/run', defaultNetwork: 'none' });
    const { damaged } = await engine.system.check();
    const { images: { size, reclaimable } } = await engine.system.df();
    await engine.close();
    console.log(damaged.length, size > 0 && size === reclaimable);
    console.log((await images.diff('${registry.host}/busybox:1', '${registry.host}/busybox:1')).length);`);
  assert.is(printed, '0 true\n0\n');
  const names = execFileSync('tar', ['--list', '--file', join(directory, 'root/out.tar')], { encoding: 'utf8' });
  for (const name of names.split('\n').filter((one) => one.endsWith('.tar'))) {
    const line = `tar -xOf "$0" "$1" | sha256sum`;
    const sum = execFileSync('sh', ['-c', line, join(directory, 'root/out.tar'), name], { encoding: 'utf8' });
    assert.is(`${sum.slice(0, 64)}.tar`, name);
  }
});

t('load, import, and removal to the last byte', () => {
  const printed = asUser(`
    await images.load('${directory}/saved.tar');
    await images.import('${directory}/base.tar', { reference: 'imported' });
    console.log(images.list().map(({ repository }) => repository).sort().join());
    for (const { id } of images.list()) await images.remove(id, { force: true }).catch(() => undefined);
    console.log(images.list().length, database.layers().length);`);
  assert.match(printed, /^.*example\.com\/saved.*imported\n0 0\n$/);
  assert.is(execFileSync('find', [join(directory, 'root/layers'), '-mindepth', '1'], { encoding: 'utf8' }), '');
});

t.run();
