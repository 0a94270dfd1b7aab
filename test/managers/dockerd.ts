// A Docker daemon of the test's own, in a machine of its own, that knows the runtime under test as `kapsel`.

import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { Pty } from '../cli/pty.ts';
import { type CommandOptions, type CommandResult, scratch } from '../harness/engine.ts';
import { type Daemon, Machine, cgroups, removeParent, runtime, tag } from './machine.ts';

export class Docker {
  readonly machine: Machine;
  readonly #parent: string;
  readonly #flags: string[];
  #daemon: Daemon | undefined;
  /** What is there before the first container. */
  #mounts: string[] = [];
  #processes: string[] = [];

  /** `name` tells several daemons of one test file apart. */
  constructor(machine: Machine, flags: string[] = [], name = 'docker') {
    this.machine = machine;
    this.#parent = `${tag}-${name}`;
    const own = ['--data-root', join(scratch, name), '--cgroup-parent', `/${this.#parent}`];
    // A runtime that lowers no score and raises no limit: the tests run without CAP_SYS_RESOURCE too.
    const score = ['--oom-score-adjust', '0'];
    this.#flags = [...own, ...score, '--add-runtime', `kapsel=${runtime}`, ...flags];
  }

  /** A machine and a daemon in it, ready. */
  static async make(flags: string[] = []): Promise<Docker> {
    const docker = new Docker(await Machine.make(), flags);
    await docker.start();
    return docker;
  }

  async start(): Promise<void> {
    this.#daemon = await this.machine.daemon('dockerd', this.#flags, ['docker', 'version']);
  }

  /** Stops the daemon by a signal. */
  async stop(): Promise<void> {
    await this.#daemon?.stop();
  }

  log(): Promise<string> {
    return this.#daemon?.log() ?? Promise.resolve('');
  }

  /** `docker ARGS`, however it ends. */
  run(args: string[], options: CommandOptions = {}): Promise<CommandResult> {
    return this.machine.run('docker', args, options);
  }

  /** `docker ARGS` that must succeed, and its output. */
  output(...args: string[]): Promise<string> {
    return this.machine.output('docker', args);
  }

  /** `docker ARGS` on a terminal; the words are the shell's to split. */
  terminal(...args: string[]): Promise<Pty> {
    const [command, words] = this.machine.inside('docker', args);
    return Pty.open([command, ...words].join(' '), this.machine.environment);
  }

  /** One value of `docker inspect`. */
  inspect(id: string, format: string): Promise<string> {
    return this.output('inspect', '--format', `{{${format}}}`, id);
  }

  /** Waits until `docker inspect` says so. */
  async until(id: string, format: string, wanted: string): Promise<void> {
    for (let tries = 0; (await this.inspect(id, format)) !== wanted; tries += 1) {
      if (tries === 100) assert.is(await this.inspect(id, format), wanted, `${format} of ${id}`);
      await setTimeout(100);
    }
  }

  /** Remembers what is there without a container, for `clean`. */
  async remember(): Promise<void> {
    // The first container in the host's network leaves a mount for all that follow.
    await this.output('run', '--rm', '--network', 'host', '--userns', 'host', 'box:1', 'true');
    this.#mounts = await this.machine.mounts();
    this.#processes = await this.#names();
  }

  /** Removes every container and checks that no mount, cgroup, process or state is left of them. */
  async clean(): Promise<void> {
    const ids = (await this.output('ps', '--all', '--quiet')).split('\n').filter(Boolean);
    // What the daemon itself is removing just now is refused.
    if (ids.length > 0) await this.run(['rm', '--force', '--volumes', ...ids]);
    for (let tries = 0; tries < 100 && (await this.output('ps', '--all', '--quiet')) !== ''; tries += 1)
      await setTimeout(100);
    assert.equal(await this.machine.mounts(), this.#mounts);
    assert.equal(await cgroups(this.#parent), []);
    assert.equal(await this.#names(), this.#processes);
    assert.equal(await this.machine.containers('/run/docker/runtime-*/moby'), []);
  }

  /** Runs a test and then `clean`, however it ended; the test's own failure comes first. */
  async cleanly(test: () => Promise<void>): Promise<void> {
    const failure = await test().then(
      () => undefined,
      (error: Error) => error,
    );
    const left = await this.clean().then(
      () => undefined,
      (error: Error) => error,
    );
    if (failure ?? left) throw failure ?? left;
  }

  async #names(): Promise<string[]> {
    return (await this.machine.processes()).map((line) => line.replace(/^\d+ /, ''));
  }

  async close(): Promise<void> {
    await this.stop();
    await this.machine.close();
    await removeParent(this.#parent);
  }
}
