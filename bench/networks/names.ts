// A name asked for in a container: kapsel's server inside it, beside podman's aardvark-dns at the bridge.

import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import type { Engine } from '../../src/index.ts';
import { compile, median, verdict } from '../ground.ts';
import { podmanWithNetworks } from '../peers.ts';
import { inside } from '../../test/harness/machine.ts';

/** Questions a round. */
const questions = '200';

export async function names(engine: Engine, directory: string, rounds: number): Promise<void> {
  if (!existsSync('/usr/lib/podman/aardvark-dns')) return console.log('aardvark-dns is not installed: not measured');
  const lookup = compile(directory, 'lookup');
  await using cleanup = new AsyncDisposableStack();
  const options = { command: ['/bin/sleep', '3600'], network: 'bench', name: 'named' };
  const container = await engine.containers.create('bench', options);
  cleanup.defer(() => container.remove({ force: true }));
  await container.start();
  const own = (await container.inspect()).State.Pid;
  const [program, ...flags] = podmanWithNetworks(directory) as [string, ...string[]];
  const podman = (...args: string[]) => execFileSync(program, [...flags, ...args], { encoding: 'utf8' }).trim();
  podman('import', '--quiet', `${directory}/rootfs.tar`, 'bench');
  podman('network', 'create', '--subnet', '10.93.0.0/24', 'names');
  const limits = ['--ulimit', 'nofile=1024:4096', '--ulimit', 'nproc=1024:4096'];
  podman('run', '--detach', '--name', 'named', '--network', 'names', ...limits, 'bench', '/bin/sleep', '3600');
  cleanup.defer(() => void podman('rm', '--force', '--time', '0', 'named'));
  const its = Number(podman('inspect', '--format', '{{.State.Pid}}', 'named'));
  const asked = [
    { name: 'kapsel', pid: own, server: '127.0.0.11', times: [] as number[] },
    { name: 'aardvark-dns', pid: its, server: '10.93.0.1', times: [] as number[] },
  ];
  for (let round = 0; round < rounds; round++) {
    for (const { pid, server, times } of asked) {
      times.push(...inside(pid, lookup, server, 'named', questions).trim().split(' ').map(Number));
    }
  }
  console.log('');
  for (const { name, times } of asked)
    console.log(`${`a name of ${name}`.padEnd(44)}${(median(times) / 1000).toFixed(1)} µs`);
  verdict("a name / aardvark-dns's", median(asked[0]!.times) / median(asked[1]!.times), 1.5);
}
