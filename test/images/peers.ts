// What the tests with other programs share: a machine with a registry in it, kapsel and the others beside it, an image with
// everything that a tar can hold, and the look at a tree.

import { execFile } from 'node:child_process';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type CommandOptions, type CommandResult, scratch, testEngine, type TestEngine } from '../harness/engine.ts';
import { busyboxLayers, ociLayout } from '../harness/images.ts';
import { type Daemon, Machine } from '../managers/machine.ts';

const execute = promisify(execFile);
const cli = new URL('../../dist/kapsel.js', import.meta.url).pathname;
const census = new URL('census.py', import.meta.url).pathname;

/** In the machine's own network. */
export const registryHost = '127.0.0.1:5000';

export class Peers {
  readonly machine: Machine;
  readonly engine: TestEngine;
  readonly #registry: Daemon;

  private constructor(machine: Machine, engine: TestEngine, registry: Daemon) {
    this.machine = machine;
    this.engine = engine;
    this.#registry = registry;
  }

  static async make(): Promise<Peers> {
    const machine = await Machine.make();
    const config = join(scratch, 'registry.json');
    const storage = { filesystem: { rootdirectory: join(scratch, 'registry') } };
    await mkdir(storage.filesystem.rootdirectory);
    await writeFile(config, JSON.stringify({ version: 0.1, storage, http: { addr: registryHost } }));
    const isUp = ['bash', '-c', `exec 3<>/dev/tcp/${registryHost.replace(':', '/')}`];
    const registry = await machine.daemon('docker-registry', ['serve', config], isUp);
    return new Peers(machine, await testEngine(), registry);
  }

  /** `kapsel ARGS` in the machine. */
  kapsel(args: string[], options: CommandOptions = {}): Promise<CommandResult> {
    return this.machine.run(process.execPath, [cli, ...args], { ...options, env: this.engine.env });
  }

  /** `kapsel ARGS`, which must succeed. */
  kapselOutput(...args: string[]): Promise<string> {
    return this.machine.output(process.execPath, [cli, ...args], { env: this.engine.env });
  }

  skopeo(...args: string[]): Promise<string> {
    return this.machine.output('skopeo', ['--insecure-policy', ...args]);
  }

  /** Everything in a directory of the machine. */
  async look(path: string): Promise<string[]> {
    return (await this.machine.output('python3', [census, path])).split('\n');
  }

  /** Everything in layers that lie on each other, topmost first. */
  async lookThrough(layers: string[]): Promise<string[]> {
    const [root, empty] = [join(scratch, 'seen'), join(scratch, 'empty')];
    for (const directory of [root, empty]) await mkdir(directory, { recursive: true });
    // One layer alone is no overlay.
    const lowers = [...layers, empty].join(':');
    await this.machine.output('mount', ['-t', 'overlay', '-o', `ro,lowerdir=${lowers}`, 'overlay', root]);
    try {
      return await this.look(root);
    } finally {
      await this.machine.output('umount', [root]);
    }
  }

  /** What kapsel has made of an image. */
  async lookAtKapsels(name: string): Promise<string[]> {
    const image = this.engine.engine.images.resolve(name);
    if (!image) throw new Error(`kapsel has no ${name}`);
    return await this.lookThrough(image.layers);
  }

  async close(): Promise<void> {
    await this.#registry.stop();
    await this.machine.close();
    await this.engine.close();
    await rm(join(scratch, 'registry'), { recursive: true, force: true });
  }
}

/** A layout `DIR:rich` of four layers: busybox, files, whiteouts, and one entry of each kind. */
export async function richLayout(directory: string): Promise<string> {
  const layers = [...(await busyboxLayers(directory)), await oddTar(directory)];
  const config = { Cmd: ['sh'], Env: ['PATH=/bin', 'RICH=yes'], Labels: { 'org.example.rich': 'yes' } };
  return await ociLayout(join(directory, 'layout'), [{ layers, config, name: 'rich' }]);
}

/** With the owners, times, links, devices, holes and attributes that it has on the disk. */
async function oddTar(directory: string): Promise<string> {
  const [root, tar] = [join(directory, 'odd'), join(directory, 'odd.tar')];
  await mkdir(root);
  const script = String.raw`
    mkdir -p sub/empty "sp ace" 'ü\x' "$(printf 'long%.0s' $(seq 50))/$(printf 'name%.0s' $(seq 50))"
    echo one > sub/one; ln sub/one sub/hard; ln sub/one hard-elsewhere
    ln -s ../nowhere sub/dangling; ln -s /etc/passwd absolute; ln -s "$(printf 'target/%.0s' $(seq 40))" long-target
    printf set > setuid; chmod 4755 setuid; printf x > setgid; chmod 2711 setgid; chmod 1777 sub/empty; chmod 0 'sp ace'
    printf owned > owned; chown 1234:567890 owned; chown -h 42:43 sub/dangling
    mkfifo pipe; mknod character c 1 3; mknod block b 7 0
    truncate -s 1M sparse; printf end >> sparse; : > nothing
    printf able > capable; chmod 755 capable; setcap cap_net_raw+ep capable
    touch -d 1999-12-31T23:59:59Z sub/one; touch -d 2038-01-20 capable; touch -h -d 2001-02-03 absolute; touch -d 2010-01-01 sub
    tar --create --file ../odd.tar --format=pax --sparse --xattrs --xattrs-include='*' --sort=name --numeric-owner .
  `;
  await execute('bash', ['-ec', script], { cwd: root });
  await rm(root, { recursive: true });
  return tar;
}
