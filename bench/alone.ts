// The executable alone: the Launch document is made once, and each byte on stdin starts a monitor with it and waits for
// its last word on the connection, without a database, a promise or a stream.

import { mkdirSync, readSync, rmSync, writeSync } from 'node:fs';
import { ground } from '../src/engine/containers/ground.ts';
import { deviceAccess } from '../src/engine/containers/devices.ts';
import { encode, launch } from '../src/engine/containers/launch.ts';
import { order, spawnMonitor } from '../src/engine/containers/monitor.ts';
import { containerPaths } from '../src/engine/containers/paths.ts';
import { prepareDirectories, prepareFiles } from '../src/engine/containers/prepare.ts';
import { resolveSettings } from '../src/engine/containers/settings.ts';
import { close, lockExclusive, reap } from '../src/native.ts';
import { Engine } from '../src/index.ts';

const root = process.env.KAPSEL_ROOT as string;
const runRoot = process.env.KAPSEL_RUN_ROOT as string;
const cgroupParent = process.env.KAPSEL_CGROUP_PARENT as string;
const engine = new Engine({ root, runRoot, cgroupParent, defaultNetwork: 'none' });
const image = await engine.images.ensure(process.argv[2] as string, {});
const id = 'a'.repeat(64);
const surroundings = { cgroupParent, defaultNetwork: 'none', hostname: 'bench', cpus: new Set([0]) };
const options = { command: ['/bin/true'], hostname: 'bench' };
const settings = resolveSettings(id, image.config.config ?? {}, options, surroundings);
const paths = containerPaths(root, runRoot, id);
prepareDirectories(paths);
const given = ground(settings, deviceAccess(settings.devices, settings.privileged));
const document = encode(launch(id, settings, paths, image.layers, given));
const buffer = Buffer.alloc(65536);

/** The exit code, as the connection's last line says. */
async function once(): Promise<number> {
  mkdirSync(paths.runDirectory, { recursive: true });
  const lock = lockExclusive(paths.lock);
  prepareFiles(settings, paths);
  const monitor = spawnMonitor(lock);
  order(monitor, document);
  const { pid, connection, complaints, orders } = monitor;
  let text = '';
  for (let read = 1; read > 0 && !text.includes('"exited"');) {
    read = readSync(connection, buffer);
    text += buffer.toString('utf8', 0, read);
  }
  for (const fd of [lock, connection, complaints, orders]) close(fd);
  await reap(pid);
  return Number(/"exitCode":(\d+)/.exec(text)?.[1] ?? 1);
}

const byte = Buffer.alloc(1);
if ((await once()) === 0) writeSync(1, '\n');
while (readSync(0, byte) === 1) {
  if ((await once()) !== 0) process.exit(1);
  writeSync(1, '\n');
}
rmSync(paths.directory, { recursive: true });
await engine.close();
