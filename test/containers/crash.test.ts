// kill -9 of whatever is kapsel’s, at any moment: the next command tells the truth and cleans up.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import { containerPaths } from '../../src/engine/containers/paths.ts';
import { Engine, type KapselError } from '../../src/index.ts';
import { testEngine, type Census, type TestEngine } from '../harness/engine.ts';
import { all, image } from './inside.ts';
import { rejects } from './rejects.ts';

const t = suite('crashes');
let test: TestEngine;
let before: Census;

t.before(async () => {
  test = await testEngine();
  await test.engine.images.ensure(image);
  before = await test.census();
});

t.after(async () => {
  assert.equal(await test.census(), before);
  await test.close();
});

/** The monitor of a container: who holds its control socket's directory open by name. */
function parentOf(pid: number): number {
  return Number(/^PPid:\s*(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]);
}

function isGone(pid: number): boolean {
  try {
    return /^State:\s*Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8'));
  } catch {
    return true;
  }
}

const pause = (milliseconds: number) => new Promise((resolve) => setTimeout(resolve, milliseconds));

async function until(holds: () => boolean): Promise<void> {
  for (let tries = 0; !holds(); tries++) {
    if (tries > 500) throw new Error('it never came true');
    await pause(10);
  }
}

function missing(error: KapselError): void {
  assert.is(error.code, 'CONTAINER_NOT_FOUND');
}

/** Processes with this engine’s run root among their arguments, or in this engine’s cgroup. */
function processesOf(engine: TestEngine): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .filter((pid) => {
      try {
        return readFileSync(`/proc/${pid}/cgroup`, 'utf8').includes(`${engine.cgroupParent}/`) && !isGone(Number(pid));
      } catch {
        return false;
      }
    })
    .map(Number);
}

/** A program that uses the engine and is killed. Its script sees `engine`, `image`. */
function victim(script: string) {
  const code = `
    import { Engine } from ${JSON.stringify(new URL('../../src/index.ts', import.meta.url).href)};
    const engine = new Engine(${JSON.stringify(test.options)});
    const image = ${JSON.stringify(image)};
    ${script}`;
  return spawn(process.execPath, ['--input-type=module-typescript', '-e', code], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

t('a monitor that is stopped holds nobody up for ever, and rm -f ends it', async () => {
  const container = await test.engine.containers.start(image, { command: ['sleep', '60'] });
  const { Pid } = (await container.inspect()).State;
  const monitor = parentOf(Pid);
  process.kill(monitor, 'SIGSTOP');
  assert.is((await container.inspect()).State.Status, 'running');
  const refused = { code: 'MONITOR_UNRESPONSIVE' };
  await Promise.all([
    rejects(container.stop(), refused),
    rejects(container.exec({ command: ['true'] }), refused),
    // More than a socket holds, and more callers than its queue does: neither may stop this process's event loop.
    rejects(container.exec({ command: ['true'], env: { LONG: 'x'.repeat(1 << 20) } }), refused),
    ...Array.from({ length: 200 }, () => rejects(container.stop(), refused)),
  ]);
  await container.remove({ force: true });
  await until(() => isGone(Pid) && isGone(monitor));
});

t('a paused container whose monitor is killed is thawed to die by the next command', async () => {
  const container = await test.engine.containers.start(image, { command: ['sleep', '60'] });
  const { Pid } = (await container.inspect()).State;
  await container.pause();
  process.kill(parentOf(Pid), 'SIGKILL');
  const after = async () => (await container.inspect()).State;
  for (let tries = 0; (await after()).Status !== 'exited'; tries++) {
    if (tries > 100) throw new Error('nobody noticed');
    await pause(10);
  }
  assert.is((await after()).ExitCode, 137);
  await until(() => isGone(Pid));
  await container.remove();
});

t('a monitor that is killed takes its container with it, and everybody hears of it', async () => {
  const container = await test.engine.containers.start(image, { command: ['sleep', '60'] });
  const { State } = await container.inspect();
  const waiting = container.wait();
  process.kill(parentOf(State.Pid), 'SIGKILL');
  assert.is((await waiting).exitCode, 137);
  const after = (await container.inspect()).State;
  assert.equal([after.Status, after.ExitCode], ['exited', 137]);
  await until(() => isGone(State.Pid));
  await container.start();
  await container.remove({ force: true });
});

t('a start cleans up after a death that was recorded by somebody who was killed before cleaning', async () => {
  const container = await test.engine.containers.start(image, { command: ['sleep', '60'] });
  const { State } = await container.inspect();
  const { root, runRoot, database } = test.engine;
  const { runDirectory } = containerPaths(root, runRoot, container.id);
  // Frozen, it does not die of its monitor's death: who starts it as if it had would join it in the ice.
  await container.pause();
  process.kill(parentOf(State.Pid), 'SIGKILL');
  // In one breath: this process, which started it, would hear of it and clean up.
  const deadline = Date.now() + 5000;
  while (database.reconcile(runRoot).died.length === 0) assert.ok(Date.now() < deadline, 'nobody died');
  assert.is(database.container(container.id).status, 'exited');
  assert.ok(existsSync(runDirectory));
  await container.start();
  assert.is((await container.inspect()).State.Status, 'running');
  await container.remove({ force: true });
});

t('a run whose monitor is killed ends with 137 and leaves nothing', async () => {
  const running = test.engine.containers.run(image, { command: ['sleep', '60'], name: 'doomed' });
  let pid = 0;
  while (pid === 0) {
    const [line] = await test.engine.containers.list({ filters: { name: ['doomed'] } });
    pid = line?.pid ?? 0;
    await pause(2);
  }
  process.kill(parentOf(pid), 'SIGKILL');
  const result = await running;
  assert.equal([result.exitCode, result.signal], [137, 'SIGKILL']);
  assert.equal(await test.engine.containers.list({ all: true }), []);
  assert.equal(await test.census(), before);
});

t('a detached --rm container whose monitor is killed vanishes by the next command', async () => {
  const container = await test.engine.containers.start(image, { command: ['sleep', '60'], rm: true });
  process.kill(parentOf((await container.inspect()).State.Pid), 'SIGKILL');
  assert.is((await container.wait()).exitCode, 137);
  await rejects(container.inspect(), { code: 'CONTAINER_NOT_FOUND' });
  assert.equal(await test.census(), before);
});

t('a run cleans up after the dead, too', async () => {
  const container = await test.engine.containers.start(image, { command: ['sleep', '60'], rm: true });
  const { Pid } = (await container.inspect()).State;
  // Without its starter, who would see it.
  await test.engine.close();
  process.kill(parentOf(Pid), 'SIGKILL');
  await until(() => isGone(Pid));
  await using other = new Engine(test.options);
  await other.containers.run(image, { command: ['bash', '-c', 'exit 0'] });
  assert.equal(await test.census(), before);
});

t('a container outlives the program that started it, and is the next one’s', async () => {
  const child = victim(
    `const c = await engine.containers.start(image, { command: ['sleep', '60'] }); console.log(c.id); await new Promise(() => setInterval(() => {}, 1e6));`,
  );
  const [id] = (await once(child.stdout, 'data')) as [Buffer];
  child.kill('SIGKILL');
  await once(child, 'exit');
  const container = await test.engine.containers.get(String(id).trim());
  assert.is((await container.inspect()).State.Status, 'running');
  await container.stop({ timeout: 0 });
  await container.remove();
});

t('the program that runs containers is killed at any moment', async () => {
  for (let round = 0; round < 25; round++) {
    const rm = round % 2 === 0;
    const child = victim(`
      console.log('ready');
      for (;;) {
        const [a] = await Promise.all([
          engine.containers.run(image, { command: ['bash', '-c', 'echo x > /x'], rm: ${rm}, volumes: ['/anonymous'] }),
          engine.containers.start(image, { command: ['sleep', '0.01'], rm: ${rm} }),
        ]);
      }`);
    await once(child.stdout, 'data');
    await pause(20 + Math.random() * 60);
    child.kill('SIGKILL');
    await once(child, 'exit');
    // Containers that were started run to their end.
    for (const { id } of await test.engine.containers.list()) {
      // Those of --rm vanish as soon as they have ended.
      await test.engine.containers
        .get(id)
        .then((container) => container.wait())
        .catch(missing);
    }
    for (const { id, status } of await test.engine.containers.list({ all: true })) {
      assert.ok(status === 'exited' || status === 'created', status);
      await (await test.engine.containers.get(id)).remove({ volumes: true });
    }
    assert.equal(processesOf(test), []);
    assert.equal(await test.census(), before, `round ${round}`);
    assert.equal(await test.engine.volumes.list(), []);
  }
});

t('monitors are killed at any moment', async () => {
  for (let round = 0; round < 15; round++) {
    const running = test.engine.containers.run(image, { command: ['bash', '-c', 'echo x > /x'], rm: round % 2 === 0 });
    const killed = setTimeout(() => {
      for (const pid of processesOf(test)) {
        try {
          const monitor = parentOf(pid);
          if (parentOf(monitor) === process.pid) process.kill(monitor, 'SIGKILL');
        } catch {
          // It has ended by itself.
        }
      }
    }, Math.random() * 4);
    const outcome = await running.then(
      ({ exitCode }) => exitCode,
      (error: { exitCode: number }) => error.exitCode,
    );
    clearTimeout(killed);
    assert.ok([0, 125, 137].includes(outcome), String(outcome));
    for (const { id } of await test.engine.containers.list({ all: true })) {
      await (await test.engine.containers.get(id)).remove({ volumes: true });
    }
    assert.equal(await test.census(), before, `round ${round}`);
  }
});

t('sixty-four at once all succeed, with names of their own', async () => {
  const results = await Promise.all(
    Array.from({ length: 64 }, (_, index) =>
      test.engine.containers.run(image, { command: ['bash', '-c', `echo ${index}`] }),
    ),
  );
  assert.equal(
    results.map(({ stdout }) => stdout),
    Array.from({ length: 64 }, (_, index) => `${index}\n`),
  );
  assert.equal(await test.census(), before);
});

t('sixty-four programs at once all succeed', async () => {
  const children = Array.from({ length: 64 }, () =>
    victim(
      `const { exitCode } = await engine.containers.run(image, { command: ['bash', '-c', 'exit 7'] }); console.log(exitCode); await engine.close();`,
    ),
  );
  const codes = await Promise.all(
    children.map(async (child) => {
      const chunks = await all(child.stdout);
      return Buffer.concat(chunks as Buffer[]).toString();
    }),
  );
  assert.equal(
    codes,
    Array.from({ length: 64 }, () => '7\n'),
  );
  assert.equal(await test.engine.containers.list({ all: true }), []);
  assert.equal(await test.census(), before);
});

t.run();
