import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import { run, testEngine, type Census, type TestEngine } from '../harness/engine.ts';
import { image, inside, shell } from './inside.ts';
import { rejects } from './rejects.ts';

const t = suite('volumes and binds');
let test: TestEngine;
let before: Census;
let host: string;

t.before(async () => {
  test = await testEngine();
  host = mkdtempSync(`${test.directory}/host-`);
  await test.engine.images.ensure(image);
  before = await test.census();
});

t.after(async () => {
  assert.equal(await test.census(), before);
  await test.close();
});

t('-v binds a directory of the host, and makes it where it is missing', async () => {
  await inside(test, 'echo from-inside > /d/file', { volumes: [`${host}/made/here:/d`] });
  assert.is(readFileSync(`${host}/made/here/file`, 'utf8'), 'from-inside\n');
});

t('-v binds a file', async () => {
  writeFileSync(`${host}/single`, 'one');
  assert.is(await inside(test, 'cat /etc/single', { volumes: [`${host}/single:/etc/single`] }), 'one');
});

t('ro is read-only', async () => {
  const { stderr, exitCode } = await shell(test, 'touch /d/x', { volumes: [`${host}:/d:ro`] });
  assert.is(exitCode, 1);
  assert.match(stderr, /Read-only file system/);
});

t('--mount type=bind wants its source there', async () => {
  const options = { mounts: [`type=bind,source=${host}/nothing,target=/d`] };
  await rejects(shell(test, 'true', options), { exitCode: 125, message: /bind source path does not exist/ });
  assert.not.ok(existsSync(`${host}/nothing`));
  mkdirSync(`${host}/nothing`);
  await inside(test, 'touch /d/x', options);
  assert.ok(existsSync(`${host}/nothing/x`));
});

t('a named volume outlives containers and is filled from the image once', async () => {
  assert.match(await inside(test, 'ls /etc; echo kept > /etc/mine', { volumes: ['etc:/etc'] }), /passwd/);
  assert.is(
    await inside(test, 'cat /again/mine; ls /again | grep passwd', { volumes: ['etc:/again'] }),
    'kept\npasswd',
  );
  assert.is(
    await inside(test, 'ls /etc', { mounts: ['source=empty,target=/etc,volume-nocopy'] }),
    'hostname\nhosts\nresolv.conf',
  );
  const names = (await test.engine.volumes.list()).map(({ name }) => name);
  assert.equal(names.sort(), ['empty', 'etc']);
});

t('a filled volume has the owner and mode of the image’s directory', async () => {
  await inside(test, 'true', { volumes: ['tmp:/tmp'] });
  const { mountpoint } = await test.engine.volumes.inspect('tmp');
  assert.is(statSync(mountpoint).mode & 0o7777, 0o1777);
});

t('an anonymous volume goes with --rm', async () => {
  const count = (await test.engine.volumes.list()).length;
  assert.match(await inside(test, 'grep " /v " /proc/self/mountinfo', { volumes: ['/v'] }), /\/_data \/v /);
  assert.is((await test.engine.volumes.list()).length, count);
});

t('an anonymous volume stays with a container that does, and goes with rm -v', async () => {
  const { volumes, containers } = test.engine;
  const count = (await volumes.list()).length;
  const container = await containers.create(image, { command: ['bash'], volumes: ['/v'] });
  const anonymous = (await volumes.list()).find((volume) => volume.anonymous)!;
  assert.ok(existsSync(anonymous.mountpoint));
  await rejects(volumes.remove(anonymous.name), { code: 'VOLUME_IN_USE' });
  await container.remove({ volumes: true });
  assert.is((await volumes.list()).length, count);
  assert.not.ok(existsSync(anonymous.mountpoint));
});

t('volumes are made, listed, described and removed', async () => {
  const { volumes } = test.engine;
  const made = await volumes.create({ name: 'mine', labels: { a: '1' } });
  assert.equal(await volumes.inspect('mine'), made);
  assert.equal(made.labels, { a: '1' });
  await volumes.remove('mine');
  await rejects(volumes.remove('mine'), { code: 'VOLUME_NOT_FOUND' });
  await volumes.remove('mine', { force: true });
  await rejects(volumes.create({ name: '../up' }), { code: 'VOLUME_NAME_INVALID' });
});

t('a mount below a mount, in whatever order they are given', async () => {
  mkdirSync(`${host}/outer`, { recursive: true });
  const volumes = ['inner:/a/b', `${host}/outer:/a`];
  assert.is(await inside(test, 'touch /a/b/x; ls /a', { volumes }), 'b');
});

t('a target through a symbolic link of the image’s stays in the container', async () => {
  // The image says that /escape is a directory of the host: whoever follows it there makes `inside` on the host.
  mkdirSync(`${host}/tree`);
  mkdirSync(`${host}/victim`);
  symlinkSync(`${host}/victim`, `${host}/tree/escape`);
  symlinkSync('../../../../../../..', `${host}/tree/up`);
  await run('tar', ['-C', `${host}/tree`, '-cf', `${host}/tree.tar`, '.']);
  const hostile = await test.engine.images.import(`${host}/tree.tar`);
  const volumes = ['v1:/escape/inside', `v2:/up${host}/victim/inside2`];
  await rejects(test.engine.containers.run(hostile, { command: ['/none'], volumes }), { exitCode: 127 });
  assert.equal(readdirSync(`${host}/victim`), []);
});

t.run();
