// /bin/true on no network, on one, and with a published port: a start to its end, and a removal.

import { spawnSync } from 'node:child_process';
import { setTimeout } from 'node:timers/promises';
import type { Engine } from '../../src/index.ts';
import { median, verdict } from '../ground.ts';
import { dockerDaemon, installed, podmanWithNetworks } from '../peers.ts';
import { type Kind, kinds, more, noTimes, on, settling, show, type Times, turned } from './kinds.ts';

interface Contestant {
  name: string;
  run: (kind: Kind) => Promise<void> | void;
  times: Times;
}

const contestant = (name: string, run: Contestant['run']): Contestant => ({
  name,
  run,
  times: noTimes(),
});

/** A command line that takes `run --network`. */
function byCommand(name: string, [program, ...flags]: string[], network: string, more: string[] = []): Contestant {
  return contestant(name, (kind) => {
    const on = kind === 'none' ? ['--network', 'none'] : ['--network', network];
    const port = kind === 'port' ? ['--publish', '8080:80'] : [];
    const args = [...flags, 'run', '--rm', ...on, ...port, ...more, 'bench', '/bin/true'];
    const { status, stderr } = spawnSync(program!, args, { stdio: ['ignore', 'ignore', 'pipe'] });
    if (status !== 0) throw new Error(`${name}: ${stderr.toString().slice(0, 500)}`);
  });
}

export async function starts(engine: Engine, directory: string, rounds: number, withPeers: boolean): Promise<void> {
  const all = [
    contestant('kapsel: SDK, warm', async (kind) => {
      await engine.containers.run('bench', { command: ['/bin/true'], rm: true, ...on(kind) });
    }),
  ];
  await using cleanup = new AsyncDisposableStack();
  const docker = withPeers && (await dockerDaemon(directory, ['--net', '--mount'], true));
  if (docker) {
    cleanup.defer(() => docker.stop());
    const client = ['docker', '--host', docker.host];
    spawnSync(client[0]!, [...client.slice(1), 'import', `${directory}/rootfs.tar`, 'bench']);
    all.push(byCommand('docker', client, 'bridge'));
  }
  if (withPeers && installed('podman')) {
    const command = podmanWithNetworks(directory);
    spawnSync(command[0]!, [...command.slice(1), 'import', `${directory}/rootfs.tar`, 'bench']);
    const limits = ['--ulimit', 'nofile=1024:4096', '--ulimit', 'nproc=1024:4096'];
    all.push(byCommand('podman', command, 'podman', limits));
  }
  for (let round = -1; round < rounds; round++) {
    for (const { run, times } of all) {
      for (const kind of turned(kinds, round)) {
        await setTimeout(settling);
        const began = performance.now();
        await run(kind);
        // The first round warms up.
        if (round >= 0) times[kind].push(performance.now() - began);
      }
    }
  }
  show('/bin/true, median, ms', all);
  show('/bin/true, fastest, ms', all, (times) => Math.min(...times));
  const of = (name: string) => all.find((each) => each.name === name)?.times;
  const kapsel = all[0]!.times;
  verdict('bridge, ms more than none', more(kapsel.none, kapsel.bridge), 1.5);
  verdict('a port, ms more than bridge', more(kapsel.bridge, kapsel.port), 0.1);
  for (const peer of ['docker', 'podman']) {
    const its = of(peer);
    verdict(`bridge and port / ${peer}'s`, median(kapsel.port) / (its ? median(its.port) : NaN), 1);
  }
  await removals(engine, rounds);
}

/** A running container's end: nobody waits for the kernel to take its interfaces away. */
async function removals(engine: Engine, rounds: number): Promise<void> {
  const times: Record<'none' | 'bench', number[]> = { none: [], bench: [] };
  for (let round = -1; round < rounds; round++) {
    for (const network of ['none', 'bench'] as const) {
      const container = await engine.containers.create('bench', { command: ['/bin/sleep', '3600'], network });
      await container.start();
      const began = performance.now();
      await container.remove({ force: true });
      if (round >= 0) times[network].push(performance.now() - began);
    }
  }
  console.log(`\nremoval, median ms: none ${median(times.none).toFixed(2)}, bridge ${median(times.bench).toFixed(2)}`);
  verdict('removal, bridge / none', median(times.bench) / median(times.none), 1.2);
}
