// `kapsel-runtime checkpoint` and `restore`, as podman, CRI-O and containerd call them, by a real CRIU.

import { spawn, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdtemp, readFile, readdir, readlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import { Containers, counter } from './containers.ts';

const t = suite('kapsel-runtime checkpoint and restore');
let all: Containers;

t.before(async () => {
  all = await Containers.make();
});

t.after(() => all.close());

t.after.each(() => all.clear());

t('a container goes on on other pipes, and is a container like any other', async () => {
  const { path, id, images } = await all.bundle(counter);
  const first = all.speaker(['run', '--detach', '--bundle', path, id]);
  const [, child] = (await first.line()).split(' ');
  await all.ask(id, 'one');
  assert.is(await first.line(), `1 one ${child}`);
  await all.succeeds(['checkpoint', '--image-path', images, '--work-path', join(path, 'work'), id]);
  assert.match((await all.runtime(['state', id])).stderr, /does not exist/);
  assert.ok(existsSync(join(path, 'work', 'dump.log')));
  assert.match(await readFile(join(images, 'descriptors.json'), 'utf8'), /"pipe:\[\d+\]"/);

  const pidFile = join(path, 'pid');
  const flags = ['--image-path', images, '--work-path', join(path, 'work'), '--pid-file', pidFile, '--detach'];
  const second = all.speaker(['restore', '--bundle', path, ...flags, id]);
  await once(second.child, 'exit');
  const { status, pid } = await all.state(id);
  assert.is(status, 'running');
  assert.is(await readFile(pidFile, 'utf8'), String(pid));
  await all.ask(id, 'two');
  assert.is(await second.line(), `2 two ${child}`);
  assert.match(await readFile(`/proc/${pid}/cgroup`, 'utf8'), new RegExp(`:pids:${all.cgroupParent}/${id}\n`));
  assert.is((await readFile(`/sys/fs/cgroup/pids${all.cgroupParent}/${id}/pids.max`, 'utf8')).trim(), '50');
  await all.succeeds(['pause', id]);
  assert.is((await all.state(id)).status, 'paused');
  await all.succeeds(['resume', id]);
  await all.succeeds(['kill', id, 'KILL']);
  while ((await all.state(id)).status !== 'stopped');
  await all.succeeds(['delete', id]);
});

t('one that is left running is left alone', async () => {
  const { path, id, images } = await all.bundle(counter);
  const speaker = all.speaker(['run', '--detach', '--bundle', path, id]);
  const [, child] = (await speaker.line()).split(' ');
  await all.succeeds(['checkpoint', '--leave-running', '--image-path', images, id]);
  await all.ask(id, 'still');
  assert.is(await speaker.line(), `1 still ${child}`);
});

t('a volume is found again, wherever it is then', async () => {
  const volume = async (name: string, content: string) => {
    const path = await mkdtemp(join(all.directory, 'volume-'));
    await writeFile(join(path, 'file'), content);
    return { path, mount: { destination: '/data', type: 'bind', source: path, options: ['rbind'] }, name };
  };
  const [one, other] = [await volume('one', 'one'), await volume('other', 'other')];
  const { path, id, images } = await all.bundle(counter, { mounts: [one.mount] });
  await all.speaker(['run', '--detach', '--bundle', path, id]).line();
  await all.succeeds(['checkpoint', '--image-path', images, id]);
  const config = await readFile(join(path, 'config.json'), 'utf8');
  await writeFile(join(path, 'config.json'), config.replaceAll(one.path, other.path));
  await once(all.speaker(['restore', '--detach', '--bundle', path, '--image-path', images, id]).child, 'exit');
  assert.is(await all.succeeds(['exec', id, 'cat', '/data/file']), 'other');
});

t('a network namespace that was given is given again', async () => {
  const holder = async () => {
    const child = spawn('unshare', ['--net', 'sh', '-c', 'echo up; exec sleep 100000'], {
      stdio: ['ignore', 'pipe', 'ignore'],
    });
    await once(child.stdout, 'data');
    return child;
  };
  const [one, other] = [await holder(), await holder()];
  try {
    const of = ({ pid }: ChildProcess) => `/proc/${pid}/ns/net`;
    const namespaces = ['pid', 'mount', 'ipc', 'uts', 'cgroup'].map((type) => ({ type }));
    const given = [...namespaces, { type: 'network', path: of(one) }];
    const { path, id, images } = await all.bundle(counter, { linux: { namespaces: given } });
    await all.speaker(['run', '--detach', '--bundle', path, id]).line();
    await all.succeeds(['checkpoint', '--image-path', images, id]);
    const config = await readFile(join(path, 'config.json'), 'utf8');
    await writeFile(join(path, 'config.json'), config.replaceAll(of(one), of(other)));
    await once(all.speaker(['restore', '--detach', '--bundle', path, '--image-path', images, id]).child, 'exit');
    const { pid } = await all.state(id);
    assert.is(await readlink(`/proc/${pid}/ns/net`), await readlink(of(other)));
  } finally {
    for (const child of [one, other]) child.kill('SIGKILL');
  }
});

t('a terminal goes on on another', async () => {
  const script = 'n=0; echo ready; while read line; do n=$((n + 1)); echo "$n $line"; done';
  const { path, id, images } = await all.bundle(script, { terminal: true });
  const first = all.inTerminal(['run', '--bundle', path, id]);
  await first.sees(/ready/);
  first.child.stdin.write('one\r');
  await first.sees(/1 one/);
  await all.succeeds(['checkpoint', '--image-path', images, id]);
  const second = all.inTerminal(['restore', '--bundle', path, '--image-path', images, id]);
  // It is in its read again once it is told that it runs.
  while ((await all.runtime(['state', id])).exitCode !== 0 || (await all.state(id)).status !== 'running');
  second.child.stdin.write('two\r');
  await second.sees(/2 two/);
  second.child.stdin.write('\u0004');
  const [code] = (await once(second.child, 'exit')) as [number];
  assert.is(code, 0);
  assert.match((await all.runtime(['state', id])).stderr, /does not exist/);
});

t('what cannot be done is one line and leaves everything as it was', async () => {
  const { path, id, images } = await all.bundle(counter);
  const speaker = all.speaker(['run', '--detach', '--bundle', path, id]);
  const [, child] = (await speaker.line()).split(' ');
  const files = await readdir(path);
  const complains = all.complains.bind(all);
  const missing = /checkpoint needs the program criu \(4\.0 or later\): install it, or set its path in KAPSEL_CRIU/;
  await complains(missing, ['checkpoint', '--image-path', images, id], { KAPSEL_CRIU: '', PATH: '/nowhere' });
  await complains(missing, ['checkpoint', '--image-path', images, id], { KAPSEL_CRIU: '/nowhere/criu' });
  const flags: [string, RegExp][] = [
    ['--manage-cgroups-mode=loud', /soft, full, strict or ignore/],
    ['--empty-ns=mount', /only network/],
    ['--page-server=here', /ADDRESS:PORT/],
    ['--status-fd=77', /not open for writing/],
  ];
  for (const [flag, expected] of flags) await complains(expected, ['checkpoint', flag, '--image-path', images, id]);
  assert.equal(await readdir(path), files);
  await complains(/must be a directory, and relative/, [
    'checkpoint',
    '--parent-path',
    '../none',
    '--image-path',
    images,
    id,
  ]);
  const restoring = ['restore', '--detach', '--bundle'];
  const other = await all.bundle(counter);
  await complains(/is no directory/, [...restoring, other.path, '--image-path', join(path, 'none'), other.id]);
  assert.match((await all.runtime(['state', other.id])).stderr, /does not exist/);
  // Its cgroup is another container's, which must not suffer.
  await complains(/cannot replace cgroup/, [...restoring, path, '--image-path', images, 'other']);
  assert.match((await all.runtime(['state', 'other'])).stderr, /does not exist/);
  await complains(/exists already/, ['restore', '--detach', '--bundle', path, '--image-path', images, id]);
  await all.ask(id, 'on');
  assert.is(await speaker.line(), `1 on ${child}`);
});

t('what was dumped before is not dumped again, where the kernel can tell', async () => {
  const { path, id, images } = await all.bundle(counter);
  const speaker = all.speaker(['run', '--detach', '--bundle', path, id]);
  const [, child] = (await speaker.line()).split(' ');
  const early = join(path, 'early');
  const { exitCode, stderr } = await all.runtime(['checkpoint', '--pre-dump', '--image-path', early, id]);
  if (exitCode !== 0) {
    assert.match(stderr, /this kernel cannot track changed memory \(CONFIG_MEM_SOFT_DIRTY\)/);
  } else {
    await all.succeeds(['checkpoint', '--parent-path', '../early', '--image-path', images, id]);
    const again = all.speaker(['restore', '--detach', '--bundle', path, '--image-path', images, id]);
    await once(again.child, 'exit');
    await all.ask(id, 'again');
    assert.is(await again.line(), `1 again ${child}`);
    return;
  }
  await all.ask(id, 'on');
  assert.is(await speaker.line(), `1 on ${child}`);
});

t.run();
