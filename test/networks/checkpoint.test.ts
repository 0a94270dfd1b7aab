// A container on a network written down and begun again: its network is made anew, with its names and its ports. Everything
// is in a network namespace of this file's own.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { criu } from '../checkpoint/criu.ts';
import { run, testEngine, type TestEngine } from '../harness/engine.ts';
import { inOwnNetwork } from '../harness/netns.ts';

inOwnNetwork(import.meta.url);

const t = suite('checkpoints of containers on networks');
const image = 'host:bash,busybox,ip,sleep';
let test: TestEngine;

t.before(async () => {
  test = await testEngine();
  test.env.KAPSEL_CRIU = await criu('forky');
  await test.engine.images.ensure(image);
});

t.after(() => test.close());

const kapsel = (...args: string[]) => test.output(...args);

const answer = async () => (await run('curl', ['-sS', '-m', '3', 'http://127.0.0.1:8080/hostname'])).stdout.trim();

t('a server answers again, here and from an archive', async () => {
  const server = ['busybox', 'httpd', '-f', '-p', '80', '-h', '/etc'];
  await kapsel('run', '-d', '--name', 'web', '-h', 'web', '--network', 'bridge', '-p', '8080:80', image, ...server);
  assert.is(await answer(), 'web');
  await kapsel('checkpoint', 'web');
  assert.is(await answer(), '');
  await kapsel('restore', 'web');
  assert.is(await answer(), 'web');
  const archive = `${test.directory}/web.tar`;
  await kapsel('checkpoint', '--export', archive, 'web');
  await kapsel('rm', 'web');
  await kapsel('restore', '-n', 'again', archive);
  assert.is(await answer(), 'web');
  assert.is(await kapsel('ps', '--format', '{{.Names}} {{.Networks}}'), 'again bridge\n');
  await kapsel('rm', '-f', 'again');
});

t.run();
