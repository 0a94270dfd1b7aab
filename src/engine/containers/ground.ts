// What this machine and this user give a container: cgroups or none, a user namespace of its own or none. Reads
// /etc/subuid; asks the executable nothing.

import { readFileSync } from 'node:fs';

import { UnsupportedError } from '../errors.ts';
import { isInPath } from '../programs.ts';
import type { DeviceAccess } from './devices.ts';
import type { Ground, IdMapping } from './launch.ts';
import { askedLimits } from './resources.ts';
import type { Settings } from './settings.ts';

export function isRootless(): boolean {
  return process.geteuid!() !== 0;
}

export function ground(settings: Settings, devices: DeviceAccess): Ground {
  const rootless = isRootless();
  return { rootless, cgroups: !rootless, devices, mappings: rootless ? [] : mappings(settings.userns) };
}

/**
 * Refuses what was asked for and cannot be had; resolves to what is silently on elsewhere and missing here, a line each.
 * A user's cgroups would have to be delegated, which needs cgroup v2 and somebody (systemd) who does it.
 */
export function checkGround(settings: Settings): string[] {
  if (!isRootless()) {
    mappings(settings.userns);
    return [];
  }
  const [limit] = askedLimits(settings.limits);
  if (limit !== undefined) {
    throw new UnsupportedError('CGROUP_UNSUPPORTED', `${limit} needs a cgroup, and an ordinary user has none here`, {
      exitCode: 125,
      hint: 'leave it out, or run kapsel as root',
    });
  }
  if (settings.userns !== '' && settings.userns !== 'private') {
    throw new UnsupportedError(
      'USERNS_UNSUPPORTED',
      `--userns ${settings.userns}: an ordinary user's containers are always in the user's own user namespace`,
      { exitCode: 125, hint: 'leave it out' },
    );
  }
  return ['no cgroups for an ordinary user here: containers have no resource limits and no accounting'];
}

/** What leads from an ordinary user's networks to other machines (crates/runtime/src/rootless/uplink.rs). */
const uplinks = ['pasta', 'slirp4netns'];

/** The network of containers that name none: the `wanted` one, but none where an ordinary user has nothing that leads out. */
export function usualNetwork(wanted: string): { network: string; warnings: string[] } {
  const leadsOut = () => uplinks.some((program) => isInPath(process.env.PATH ?? '', program));
  if (!isRootless() || wanted === 'none' || wanted === 'host' || leadsOut()) return { network: wanted, warnings: [] };
  const warning =
    'neither pasta nor slirp4netns is here: the container has the loopback alone; install the package passt';
  return { network: 'none', warnings: [warning] };
}

/** The ids of a user namespace of the container's own, for an engine that is root. */
function mappings(userns: string): IdMapping[] {
  if (userns === '' || userns === 'host') return [];
  const [host, size] = userns === 'private' ? subordinate() : (userns.split(':').map(Number) as [number, number]);
  return [{ containerID: 0, hostID: host, size }];
}

/** subuid(5): who keeps ids aside for kapsel, or else for root. */
function subordinate(): [first: number, count: number] {
  let lines: string[] = [];
  try {
    lines = readFileSync('/etc/subuid', 'utf8').split('\n');
  } catch {
    // The same as an empty file.
  }
  for (const user of ['kapsel', 'root', '0']) {
    for (const line of lines) {
      const [name, first, count] = line.split(':');
      if (name === user && Number(count) > 0) return [Number(first), Number(count)];
    }
  }
  throw new UnsupportedError(
    'USERNS_UNSUPPORTED',
    '--userns private: /etc/subuid keeps no ids aside for kapsel or root',
    {
      exitCode: 125,
      hint: 'add a line such as kapsel:1000000:65536, or give --userns UID:COUNT',
    },
  );
}
