// Which file systems a container sees: what the user and the image ask for, and Docker's defaults around them. Pure;
// making volumes and missing directories is prepare.ts's.

import { posix } from 'node:path';

import type { ProcessDefaults } from '../../registry/oci.ts';
import { InvalidArgumentError } from '../errors.ts';
import { checkMount, parseMount, parseTmpfs, parseVolume } from './notation/mounts.ts';
import type { BindMount, CreateOptions, Mount, TmpfsMount, VolumeMount } from './options.ts';

/** A volume has a name by now, given or made up. */
export type ResolvedMount = BindMount | TmpfsMount | (VolumeMount & { source: string; anonymous: boolean });

/** A mount of the OCI config. */
export interface OciMount {
  destination: string;
  type: string;
  source: string;
  options: readonly string[];
}

/** Every mount asked for, an anonymous volume for each VOLUME of the image that has none, the outermost first. */
export function resolveMounts(image: ProcessDefaults, options: CreateOptions): ResolvedMount[] {
  const asked: Mount[] = [
    ...(options.volumes ?? []).map((given) => (typeof given === 'string' ? parseVolume(given) : checkMount(given))),
    ...(options.mounts ?? []).map((given) => (typeof given === 'string' ? parseMount(given) : checkMount(given))),
    ...(options.tmpfs ?? []).map((given) =>
      typeof given === 'string' ? parseTmpfs(given) : checkMount<TmpfsMount>({ ...given, type: 'tmpfs' }),
    ),
  ];
  const byTarget = new Map<string, Mount>();
  for (const mount of asked) {
    if (byTarget.has(mount.target)) {
      throw new InvalidArgumentError('MOUNT_DUPLICATE', `Duplicate mount point: ${mount.target}`);
    }
    byTarget.set(mount.target, mount);
  }
  for (const path of Object.keys(image.Volumes ?? {})) {
    // An image's path cannot climb out of the root, however it is written (CVE-2022-23648).
    const target = posix
      .normalize(`/${path}`)
      .replace(/(?<=.)\/$/, '')
      .replace(/^\/+/, '/');
    if (target !== '/' && !byTarget.has(target)) byTarget.set(target, { type: 'volume', target });
  }
  return [...byTarget.values()]
    .sort((one, other) => depth(one.target) - depth(other.target))
    .map((mount) =>
      mount.type === 'volume' ? { ...mount, source: mount.source ?? '', anonymous: mount.source === undefined } : mount,
    );
}

function depth(path: string): number {
  return path.split('/').length;
}

const tmpfsDefaults = ['nosuid', 'nodev', 'noexec'];

/** A user's mount for the OCI config. `volumePath` says where a volume's data is. */
export function ociMount(mount: ResolvedMount, volumePath: (name: string) => string): OciMount {
  const access = mount.readOnly ? 'ro' : 'rw';
  if (mount.type === 'tmpfs') {
    const extra = mount.options ?? [];
    // A user's `exec` takes the place of the default's `noexec`, and so on.
    const defaults = tmpfsDefaults.filter((option) => !extra.includes(option.slice(2)) && !extra.includes(option));
    return {
      destination: mount.target,
      type: 'tmpfs',
      source: 'tmpfs',
      options: [
        ...defaults,
        ...(extra.includes('ro') || extra.includes('rw') ? [] : [access]),
        ...(mount.size === undefined ? [] : [`size=${mount.size}`]),
        ...(mount.mode === undefined ? [] : [`mode=${mount.mode.toString(8)}`]),
        ...extra,
      ],
    };
  }
  if (mount.type === 'volume') {
    return {
      destination: mount.target,
      type: 'bind',
      source: volumePath(mount.source),
      options: ['rbind', access, 'rprivate'],
    };
  }
  return {
    destination: mount.target,
    type: 'bind',
    source: mount.source,
    options: [mount.nonRecursive ? 'bind' : 'rbind', access, mount.propagation ?? 'rprivate'],
  };
}

export interface DefaultMountChoices {
  privileged: boolean;
  shmSize: number;
  pid: 'private' | 'host';
  ipc: 'private' | 'host' | 'none';
  /** The container is in a user namespace, its own or the rootless engine's. */
  inUserNamespace: boolean;
  /** Its network namespace belongs to a user namespace further out. */
  foreignNetwork: boolean;
}

const secure = ['nosuid', 'noexec', 'nodev'] as const;

/** Docker's default mounts, in the order in which they must be made. */
export function defaultMounts(choices: DefaultMountChoices): OciMount[] {
  const { privileged, inUserNamespace } = choices;
  // The kernel gives a fresh procfs or sysfs only to the owner of the PID or network namespace shown in it.
  const hostProc = choices.pid === 'host' && inUserNamespace;
  const hostSys = choices.foreignNetwork && inUserNamespace;
  const sysAccess = privileged ? 'rw' : 'ro';
  const bind = (path: string, ...options: string[]): OciMount => ({
    destination: path,
    type: 'bind',
    source: path,
    options: ['rbind', ...secure, ...options],
  });
  return [
    hostProc ? bind('/proc') : { destination: '/proc', type: 'proc', source: 'proc', options: secure },
    {
      destination: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
    },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'],
    },
    hostSys
      ? bind('/sys', sysAccess)
      : { destination: '/sys', type: 'sysfs', source: 'sysfs', options: [...secure, sysAccess] },
    // The rbind of the host's /sys has the cgroup file systems in it already.
    ...(hostSys
      ? []
      : [
          {
            destination: '/sys/fs/cgroup',
            type: 'cgroup',
            source: 'cgroup',
            options: [sysAccess, ...secure],
          },
        ]),
    // The view of the machine's queues is the machine's to mount, and need not be there to be bound.
    ...(choices.ipc === 'host' && inUserNamespace
      ? []
      : [{ destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: secure }]),
    ...shm(choices, bind),
  ];
}

function shm(choices: DefaultMountChoices, bind: (path: string) => OciMount): OciMount[] {
  if (choices.ipc === 'none') return [];
  if (choices.ipc === 'host') return [bind('/dev/shm')];
  return [
    {
      destination: '/dev/shm',
      type: 'tmpfs',
      source: 'shm',
      options: [...secure, 'mode=1777', `size=${choices.shmSize}`],
    },
  ];
}

/**
 * The defaults that no mount of the user's stands in for, then the files of /etc and the user's mounts, the outermost
 * first: a volume on /etc has the container's own hosts in it.
 */
export function combineMounts(
  defaults: readonly OciMount[],
  files: readonly OciMount[],
  users: readonly OciMount[],
): OciMount[] {
  const targets = new Set(users.map((mount) => mount.destination));
  const isFree = ({ destination }: OciMount) =>
    !targets.has(destination) && !(targets.has('/dev') && destination.startsWith('/dev/'));
  const upon = [...files.filter(isFree), ...users].sort(
    (one, other) => depth(one.destination) - depth(other.destination),
  );
  return [...defaults.filter(isFree), ...upon];
}

export const maskedPaths: readonly string[] = [
  '/proc/acpi',
  '/proc/asound',
  '/proc/interrupts',
  '/proc/kcore',
  '/proc/keys',
  '/proc/latency_stats',
  '/proc/sched_debug',
  '/proc/scsi',
  '/proc/timer_list',
  '/proc/timer_stats',
  '/sys/devices/virtual/powercap',
  '/sys/firmware',
];

export const readonlyPaths: readonly string[] = [
  '/proc/bus',
  '/proc/fs',
  '/proc/irq',
  '/proc/sys',
  '/proc/sysrq-trigger',
];
