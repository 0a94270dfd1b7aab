// A container's settings → the Launch document its monitor is started with (ARCHITECTURE.md, "Launch"): the OCI config and
// what the monitor needs beside it. Deterministic given its arguments.

import type { DeviceAccess } from './devices.ts';
import { combineMounts, defaultMounts, maskedPaths, ociMount, readonlyPaths, type OciMount } from './mounts.ts';
import type { Paths } from './paths.ts';
import { linuxResources } from './resources.ts';
import type { Settings } from './settings.ts';
import type { NetworkMode } from './networking.ts';

export interface IdMapping {
  containerID: number;
  hostID: number;
  size: number;
}

/** What this machine and user add to the settings. */
export interface Ground {
  /** The engine is not root: the executable enters a user namespace before all else. */
  rootless: boolean;
  /** There is a cgroup to be had. */
  cgroups: boolean;
  devices: DeviceAccess;
  /** A network namespace that is there already: another container's. */
  network?: string | undefined;
  /** For a user namespace of the container's own; empty for none. */
  mappings: readonly IdMapping[];
}

/** `process` of the OCI config, also of an exec. */
export interface OciProcess {
  terminal: boolean;
  consoleSize?: { height: number; width: number };
  args: readonly string[];
  env: readonly string[];
  cwd: string;
  user: { uid: number; gid: number };
  capabilities: Record<'bounding' | 'effective' | 'permitted', readonly string[]>;
  rlimits: { type: string; soft: number; hard: number }[];
  noNewPrivileges: boolean;
  oomScoreAdj?: number;
}

export type Launch = ReturnType<typeof launch>;

export function launch(id: string, settings: Settings, paths: Paths, layers: readonly string[], ground: Ground) {
  // Not the run directory: the exit record in it tells whoever comes next how the container ended.
  const removeOnExit = settings.rm
    ? [
        paths.directory,
        ...settings.mounts.flatMap((mount) =>
          mount.type === 'volume' && mount.anonymous ? [paths.volume(mount.source)] : [],
        ),
      ]
    : [];
  return {
    id,
    config: ociConfig(id, settings, paths, ground),
    overlay: { lowers: layers, upper: paths.upper, work: paths.work },
    user: settings.user,
    groupAdd: settings.groupAdd,
    copyUp: settings.mounts.flatMap((mount) => (mount.type === 'volume' && !mount.noCopy ? [mount.target] : [])),
    init: settings.init,
    seccomp: settings.seccomp,
    seccompCache: paths.seccompCache,
    runDirectory: paths.runDirectory,
    log:
      settings.log.driver === 'none'
        ? null
        : { path: paths.log, maxSize: settings.log.maxSize, maxFiles: settings.log.maxFiles },
    stdin: settings.interactive,
    stopSignal: settings.stopSignal,
    stopTimeout: settings.stopTimeout === -1 ? forEver : settings.stopTimeout,
    removeOnExit,
  };
}

function ociConfig(id: string, settings: Settings, paths: Paths, ground: Ground) {
  const { privileged, network } = settings;
  const inUserNamespace = ground.rootless || ground.mappings.length > 0;
  const foreignNetwork = network === 'host' || (ground.mappings.length > 0 && network !== 'none');
  const defaults = defaultMounts({ ...settings, inUserNamespace, foreignNetwork });
  const files = ['hostname', 'hosts', 'resolv.conf'].map((name): OciMount => ({
    destination: `/etc/${name}`,
    type: 'bind',
    source: paths.etc(name),
    options: ['bind', 'rprivate', settings.readOnly ? 'ro' : 'rw'],
  }));
  const users = settings.mounts.map((mount) => ociMount(mount, paths.volumeData));
  return {
    ociVersion: '1.3.0',
    process: ociProcess(settings, [...settings.entrypoint, ...settings.command]),
    root: { path: 'rootfs', readonly: settings.readOnly },
    ...(settings.uts === 'host' ? {} : { hostname: settings.hostname, ...domain(settings) }),
    mounts: combineMounts(defaults, files, users),
    linux: {
      namespaces: namespaces(settings, ground),
      ...(ground.mappings.length > 0 ? { uidMappings: ground.mappings, gidMappings: ground.mappings } : {}),
      ...(ground.cgroups ? { cgroupsPath: `${settings.cgroupParent}/${id}` } : {}),
      resources: linuxResources(settings.limits, ground.devices.rules),
      devices: ground.devices.nodes,
      // On a network of the engine the monitor sets them, from outside.
      sysctl: {
        ...defaultSysctls(network, ground.rootless || (inUserNamespace && network !== 'bridge')),
        ...settings.sysctls,
      },
      maskedPaths: privileged ? [] : maskedPaths,
      readonlyPaths: privileged ? [] : readonlyPaths,
      ...propagation(settings),
    },
  };
}

export function ociProcess(settings: Settings, args: readonly string[]): OciProcess {
  const held = settings.capabilities;
  const { rows, columns } = settings;
  return {
    terminal: settings.tty,
    ...(rows !== undefined && columns !== undefined ? { consoleSize: { height: rows, width: columns } } : {}),
    args,
    env: settings.env,
    cwd: settings.workdir,
    // The monitor puts the ids here that `user` means in the container's own /etc/passwd.
    user: { uid: 0, gid: 0 },
    // Nothing inheritable: execve gives no more than the file says (CVE-2022-29162).
    capabilities: { bounding: held, effective: held, permitted: held },
    rlimits: settings.ulimits.map(([type, limit]) => ({
      type,
      soft: unlimited(limit.soft),
      hard: unlimited(limit.hard),
    })),
    noNewPrivileges: settings.noNewPrivileges,
    ...(settings.oomScoreAdj === undefined ? {} : { oomScoreAdj: settings.oomScoreAdj }),
  };
}

/** The largest number of seconds the monitor counts: 136 years. */
export const forEver = 2 ** 32 - 1;

/** RLIM_INFINITY is 2^64 − 1, which a JSON number of ours cannot be: see `encode`. */
const infinity = 2 ** 64;

function unlimited(limit: number): number {
  return limit === -1 ? infinity : limit;
}

/** JSON, with RLIM_INFINITY as the integer it is rather than the double it was rounded to. */
export function encode(document: unknown): string {
  return JSON.stringify(document).replaceAll(':18446744073709552000', ':18446744073709551615');
}

function domain(settings: Settings): { domainname?: string } {
  return settings.domainname === '' ? {} : { domainname: settings.domainname };
}

function namespaces(settings: Settings, ground: Ground): { type: string; path?: string }[] {
  return [
    { type: 'mount' },
    ...(settings.pid === 'host' ? [] : [{ type: 'pid' }]),
    ...(settings.ipc === 'host' ? [] : [{ type: 'ipc' }]),
    ...(settings.uts === 'host' ? [] : [{ type: 'uts' }]),
    ...(settings.network === 'host' ? [] : [{ type: 'network', ...(ground.network && { path: ground.network }) }]),
    ...(settings.cgroupns === 'host' ? [] : [{ type: 'cgroup' }]),
    ...(ground.mappings.length > 0 ? [{ type: 'user' }] : []),
  ];
}

/** As Docker since 20.10: any program may bind low ports and ping, in a network namespace of its own. */
function defaultSysctls(network: NetworkMode, inUserNamespace: boolean): Record<string, string> {
  // Whose it is has set them.
  if (network === 'host' || (network.startsWith('container:') && inUserNamespace)) return {};
  return {
    'net.ipv4.ip_unprivileged_port_start': '0',
    // Group 2147483647 has no mapping in a user namespace.
    ...(inUserNamespace ? {} : { 'net.ipv4.ping_group_range': '0 2147483647' }),
  };
}

/** A bind that receives or shares mounts needs a root that lets them through. */
function propagation(settings: Settings): { rootfsPropagation?: string } {
  const asked = settings.mounts.flatMap((mount) =>
    mount.type === 'bind' && mount.propagation ? [mount.propagation] : [],
  );
  if (asked.some((mode) => mode.endsWith('shared'))) return { rootfsPropagation: 'shared' };
  if (asked.some((mode) => mode.endsWith('slave'))) return { rootfsPropagation: 'slave' };
  return {};
}
