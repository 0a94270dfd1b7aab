// A monitor that is killed while CRIU works for it: the next command finds a container that has ended, and nothing else.
// A command that is killed while it writes an archive: there is nothing of it.

import { mkdir, readFile, readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import type { Container } from '../../src/index.ts';
import { scratch, testEngine, type Census, type TestEngine } from '../harness/engine.ts';
import { killedWriting } from '../harness/killed.ts';
import { criu } from './criu.ts';

const image = 'host:bash,sleep';
const t = suite('a monitor killed at a checkpoint or a restore');
let test: TestEngine;
let before: Census;

t.before(async () => {
  process.env['KAPSEL_CRIU'] = await criu('trixie');
  test = await testEngine();
  await test.engine.images.ensure(image);
  before = await test.census();
});

t.after(async () => {
  assert.equal(await test.census(), before);
  await test.close();
});

const start = () => test.engine.containers.start(image, { command: ['bash', '-c', 'sleep 100000 & sleep 100000'] });

/** Processes that have one of the texts in their command line, or in their cgroup's path. */
async function processes(...texts: string[]): Promise<number[]> {
  const found = [];
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid) || pid === String(process.pid)) continue;
    const line = await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '');
    const cgroup = await readFile(`/proc/${pid}/cgroup`, 'utf8').catch(() => '');
    if (texts.some((text) => line.includes(text) || cgroup.includes(text))) found.push(Number(pid));
  }
  return found;
}

/** The monitors that this process has started. */
async function monitors(): Promise<number[]> {
  const found = [];
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const status = await readFile(`/proc/${pid}/status`, 'utf8').catch(() => '');
    if (new RegExp(`^Name:\tkapsel-monitor\n[^]*^PPid:\t${process.pid}\n`, 'm').test(status)) found.push(Number(pid));
  }
  return found;
}

/** What is left of a container whose monitor was killed in the middle of `work`. */
async function killAmid(container: Container, delay: number, work: () => Promise<void>): Promise<void> {
  const working = work().catch(() => {});
  await setTimeout(delay);
  for (const pid of await monitors()) process.kill(pid, 'SIGKILL');
  await working;
  // CRIU itself ends what it does with the processes.
  for (let tries = 0; (await processes(container.id, `${test.root}/containers`)).length > 0; tries++) {
    assert.ok(tries < 500, 'processes are left');
    await test.engine.containers.list({ all: true });
    await setTimeout(20);
  }
  assert.is((await container.inspect()).State.Status, 'exited');
}

t('at a checkpoint', async () => {
  for (const delay of [5, 60, 110, 160]) {
    const container = await start();
    await killAmid(container, delay, () => container.checkpoint());
    await container.remove();
  }
});

t('at a restore', async () => {
  for (const delay of [5, 40, 80, 120]) {
    const container = await start();
    await container.checkpoint();
    await killAmid(container, delay, () => container.restore());
    await container.remove();
  }
});

t('at a checkpoint’s archive, of which nothing is left then', async () => {
  const directory = join(scratch, 'archives');
  await mkdir(directory);
  for (const compress of ['none', 'zstd']) {
    const container = await start();
    const args = ['checkpoint', '--leave-running', '--compress', compress, '--export', join(directory, 'it.tar')];
    for (let killed = 0, tries = 0; killed < 2; tries++) {
      assert.ok(tries < 30, 'it is always quicker');
      if (await killedWriting(test, [...args, container.id], directory)) killed++;
      else await rm(join(directory, 'it.tar'));
      assert.equal(await readdir(directory), [], compress);
    }
    await container.remove({ force: true });
  }
  await rm(directory, { recursive: true });
});

t.run();
