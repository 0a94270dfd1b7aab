// The commands that are measured: each starts /bin/true from the same root file system with the namespaces it has.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** One contestant. */
export interface Peer {
  name: string;
  command: string[];
}

const here = new URL('.', import.meta.url).pathname;
const bin = new URL('../dist/kapsel.js', import.meta.url).pathname;

export function installed(program: string): boolean {
  const found = ['/usr/sbin', '/usr/bin'].some((directory) => existsSync(join(directory, program)));
  if (!found) console.log(`${program} is not installed: not measured`);
  return found;
}

/** podman on roots of its own. */
function podman(directory: string): string[] {
  const own = [
    '--root',
    join(directory, 'podman'),
    '--runroot',
    join(directory, 'podman-run'),
    '--tmpdir',
    join(directory, 'podman-tmp'),
  ];
  return [
    'podman',
    ...own,
    '--runtime',
    'runc',
    '--cgroup-manager',
    'cgroupfs',
    '--events-backend',
    'file',
    '--storage-driver',
    'overlay',
  ];
}

/** With networks of its own too, in the network namespace of whoever runs it. */
export function podmanWithNetworks(directory: string): string[] {
  return [
    ...podman(directory),
    '--network-backend',
    'netavark',
    '--network-config-dir',
    `${directory}/podman-networks`,
  ];
}

/** Everybody that can be measured here. */
export function peers(options: {
  directory: string;
  rootfs: string;
  floor: string;
  docker: string | undefined;
}): Peer[] {
  const { directory, rootfs, floor, docker } = options;
  const scratch = join(directory, 'floor-scratch');
  mkdirSync(scratch);
  const found: Peer[] = [
    { name: 'floor', command: [floor, rootfs, scratch] },
    { name: 'node -e 0', command: [process.execPath, '-e', '0'] },
    { name: 'kapsel: executable alone', command: ['@', process.execPath, join(here, 'alone.ts'), 'bench'] },
    { name: 'kapsel: SDK, warm', command: ['@', process.execPath, join(here, 'warm.ts'), 'bench'] },
    { name: 'kapsel: CLI, cold', command: [process.execPath, bin, 'run', '--rm', 'bench', '/bin/true'] },
  ];
  if (installed('bwrap')) {
    const mounts = ['--ro-bind', rootfs, '/', '--proc', '/proc', '--dev', '/dev'];
    found.push({ name: 'bwrap --unshare-all', command: ['bwrap', '--unshare-all', ...mounts, '/bin/true'] });
  }
  if (installed('podman')) {
    execFileSync('podman', [...podman(directory).slice(1), 'import', join(directory, 'rootfs.tar'), 'bench'], {
      stdio: 'ignore',
    });
    const limits = ['--ulimit', 'nofile=1024:4096', '--ulimit', 'nproc=1024:4096'];
    const command = [...podman(directory), 'run', '--rm', '--network', 'none', ...limits, 'bench', '/bin/true'];
    found.push({ name: 'podman run --network none', command });
  }
  if (docker) {
    execFileSync('docker', ['--host', docker, 'import', join(directory, 'rootfs.tar'), 'bench'], { stdio: 'ignore' });
    found.push({
      name: 'docker run --network none',
      command: ['docker', '--host', docker, 'run', '--rm', '--network', 'none', 'bench', '/bin/true'],
    });
  }
  return found;
}

/**
 * A dockerd of the benchmark's own, in namespaces of its own; without one for the network it sees ours. No bridge and no
 * firewall rule, unless it is to have `networks`.
 */
export async function dockerDaemon(
  directory: string,
  namespaces: string[] = ['--net', '--mount'],
  networks = false,
): Promise<{ host: string; stop: () => Promise<void> } | undefined> {
  if (!installed('dockerd')) return undefined;
  const socket = join(directory, 'docker.sock');
  const own = [
    '--data-root',
    join(directory, 'docker'),
    '--exec-root',
    join(directory, 'docker-run'),
    '--pidfile',
    join(directory, 'docker.pid'),
  ];
  const bridge = networks ? [] : ['--bridge', 'none', '--iptables=false', '--ip-forward=false', '--ip-masq=false'];
  const command = [
    ...namespaces,
    '--kill-child=TERM',
    '--fork',
    'dockerd',
    '--host',
    `unix://${socket}`,
    ...own,
    ...bridge,
  ];
  const daemon = spawn('unshare', command, { stdio: 'ignore', detached: true });
  const ended = once(daemon, 'exit');
  const stop = async () => {
    // `unshare --fork` itself ignores SIGTERM.
    process.kill(Number(readFileSync(join(directory, 'docker.pid'), 'utf8')), 'SIGTERM');
    await ended;
  };
  for (let tries = 0; tries < 100; tries += 1) {
    if (existsSync(socket)) return { host: `unix://${socket}`, stop };
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  console.log('dockerd did not start: not measured');
  await stop();
  return undefined;
}
