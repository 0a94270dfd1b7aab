// Devices: which nodes of the host a container gets, and the cgroup's rules for them. Reads the host's /dev.

import { readdirSync, statSync, type Stats } from 'node:fs';
import { join } from 'node:path';

import { InvalidArgumentError, NotFoundError } from '../errors.ts';
import type { Device } from './options.ts';
import type { DeviceRule } from './resources.ts';

/** A node of `linux.devices`. */
export interface DeviceNode {
  path: string;
  type: 'b' | 'c';
  major: number;
  minor: number;
  fileMode: number;
  uid: number;
  gid: number;
}

/**
 * What every container may use: runc's list. Making any node is allowed, opening it is not, so that packages with
 * nodes in them can be unpacked.
 */
const defaultRules: readonly DeviceRule[] = [
  { allow: false, access: 'rwm' },
  { allow: true, type: 'c', access: 'm' },
  { allow: true, type: 'b', access: 'm' },
  // null, zero, full, random, urandom, tty, console, ptmx; then the pseudo-terminals.
  ...(
    [
      [1, 3],
      [1, 5],
      [1, 7],
      [1, 8],
      [1, 9],
      [5, 0],
      [5, 1],
      [5, 2],
    ] as const
  ).map(([major, minor]): DeviceRule => ({ allow: true, type: 'c', major, minor, access: 'rwm' })),
  { allow: true, type: 'c', major: 136, access: 'rwm' },
];

export interface DeviceAccess {
  nodes: DeviceNode[];
  rules: readonly DeviceRule[];
}

/** The nodes and rules for the devices asked for; for a privileged container, all that the host has. */
export function deviceAccess(devices: readonly Required<Device>[], privileged: boolean): DeviceAccess {
  if (devices.length === 0 && !privileged) return { nodes: [], rules: defaultRules };
  const nodes = new Map<string, DeviceNode>();
  const rules = [...defaultRules];
  if (privileged) for (const node of below('/dev', '/dev')) nodes.set(node.path, node);
  for (const device of devices) {
    for (const node of gather(device)) {
      nodes.set(node.path, node);
      rules.push({ allow: true, type: node.type, major: node.major, minor: node.minor, access: device.permissions });
    }
  }
  return { nodes: [...nodes.values()], rules: privileged ? [{ allow: true, access: 'rwm' }] : rules };
}

function gather(device: Required<Device>): DeviceNode[] {
  let stats: Stats;
  try {
    stats = statSync(device.source);
  } catch {
    throw new NotFoundError(
      'DEVICE_NOT_FOUND',
      `error gathering device information while adding custom device "${device.source}": no such file or directory`,
      { exitCode: 125 },
    );
  }
  const node = describe(device.target, stats);
  if (node !== undefined) return [node];
  const found = stats.isDirectory() ? below(device.source, device.target) : [];
  if (found.length > 0) return found;
  throw new InvalidArgumentError(
    'DEVICE_INVALID',
    `error gathering device information while adding custom device "${device.source}": not a device node`,
  );
}

/** File systems of their own, made anew in each container. */
const ownMounts = new Set([
  '/dev/pts',
  '/dev/shm',
  '/dev/mqueue',
  '/dev/fd',
  '/dev/.udev',
  '/dev/.lxc',
  '/dev/.lxd-mounts',
]);

function below(source: string, target: string): DeviceNode[] {
  const nodes: DeviceNode[] = [];
  for (const entry of readdirSync(source, { withFileTypes: true })) {
    const path = join(source, entry.name);
    if (entry.isDirectory()) {
      if (!ownMounts.has(path)) nodes.push(...below(path, join(target, entry.name)));
    } else if ((entry.isBlockDevice() || entry.isCharacterDevice()) && path !== '/dev/console') {
      try {
        const node = describe(join(target, entry.name), statSync(path));
        if (node !== undefined) nodes.push(node);
      } catch {
        // Devices come and go; one that went between the two calls is none.
      }
    }
  }
  return nodes;
}

function describe(path: string, stats: Stats): DeviceNode | undefined {
  const type = stats.isCharacterDevice() ? 'c' : stats.isBlockDevice() ? 'b' : undefined;
  if (type === undefined) return undefined;
  const { major, minor } = numbers(BigInt(stats.rdev));
  return { path, type, major, minor, fileMode: stats.mode & 0o777, uid: stats.uid, gid: stats.gid };
}

/** glibc's encoding of dev_t: 12 + 20 bits of each, interleaved. */
function numbers(device: bigint): { major: number; minor: number } {
  return {
    major: Number(((device >> 8n) & 0xfffn) | ((device >> 32n) & 0xfffff000n)),
    minor: Number((device & 0xffn) | ((device >> 12n) & 0xffffff00n)),
  };
}
