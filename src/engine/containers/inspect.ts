// A container as Docker's `inspect` shows it. Names and shapes are Docker's; what has no meaning here is left out.

import type { ContainerRow } from '../../native.ts';
import type { Engine } from '../engine.ts';
import { networkSettings } from '../networks/shown.ts';
import { signalName } from './notation/quantities.ts';
import type { ResolvedMount } from './mounts.ts';
import { containerPaths } from './paths.ts';
import type { Settings } from './settings.ts';

export type ContainerInspect = ReturnType<typeof describeContainer>;

const neverTime = '0001-01-01T00:00:00Z';

export function describeContainer(engine: Engine, row: ContainerRow) {
  const settings = row.document as Settings;
  const { limits } = settings;
  const paths = containerPaths(engine.root, engine.runRoot, row.id);
  const [path = '', ...args] = [...settings.entrypoint, ...settings.command];
  const running = row.status === 'running' || row.status === 'paused' || row.status === 'starting';
  return {
    Id: row.id,
    Created: row.createdAt,
    Path: path,
    Args: args,
    State: {
      Status: row.status === 'starting' ? 'running' : row.status,
      Running: running,
      Paused: row.status === 'paused',
      Restarting: false,
      OOMKilled: row.oomKilled,
      Dead: false,
      Pid: running ? (row.pid ?? 0) : 0,
      ExitCode: row.exitCode ?? 0,
      Error: row.error ?? '',
      StartedAt: row.startedAt ?? neverTime,
      FinishedAt: row.finishedAt ?? neverTime,
    },
    Image: row.imageId,
    ResolvConfPath: paths.etc('resolv.conf'),
    HostnamePath: paths.etc('hostname'),
    HostsPath: paths.etc('hosts'),
    LogPath: settings.log.driver === 'none' ? '' : paths.log,
    Name: `/${row.name}`,
    RestartCount: 0,
    Driver: 'overlay',
    Platform: 'linux',
    HostConfig: {
      Binds: settings.mounts.flatMap((mount) => (mount.type === 'tmpfs' ? [] : [bindText(mount)])),
      LogConfig: { Type: settings.log.driver, Config: logConfig(settings) },
      NetworkMode: settings.network === 'bridge' ? settings.networks[0]?.network : settings.network,
      PublishAllPorts: settings.publishAll,
      Dns: settings.dns.servers,
      DnsOptions: settings.dns.options,
      DnsSearch: settings.dns.search,
      ExtraHosts: settings.addHosts.map(([name, address]) => `${name}:${address}`),
      AutoRemove: row.autoRemove,
      CapAdd: settings.capAdd,
      CapDrop: settings.capDrop,
      CgroupnsMode: settings.cgroupns,
      GroupAdd: settings.groupAdd,
      IpcMode: settings.ipc,
      OomScoreAdj: settings.oomScoreAdj ?? 0,
      PidMode: settings.pid === 'host' ? 'host' : '',
      Privileged: settings.privileged,
      ReadonlyRootfs: settings.readOnly,
      SecurityOpt: securityOptions(settings),
      Tmpfs: Object.fromEntries(
        settings.mounts.flatMap((mount) =>
          mount.type === 'tmpfs' ? [[mount.target, (mount.options ?? []).join(',')]] : [],
        ),
      ),
      UTSMode: settings.uts === 'host' ? 'host' : '',
      UsernsMode: settings.userns,
      ShmSize: settings.shmSize,
      Sysctls: settings.sysctls,
      CpuShares: limits.cpuShares ?? 0,
      Memory: limits.memory ?? 0,
      NanoCpus: Math.round((limits.cpus ?? 0) * 1e9),
      CgroupParent: settings.cgroupParent,
      CpusetCpus: limits.cpusetCpus ?? '',
      CpusetMems: limits.cpusetMems ?? '',
      Devices: settings.devices.map(({ source, target, permissions }) => ({
        PathOnHost: source,
        PathInContainer: target,
        CgroupPermissions: permissions,
      })),
      MemoryReservation: limits.memoryReservation ?? 0,
      MemorySwap: limits.memorySwap ?? 0,
      PidsLimit: limits.pidsLimit ?? null,
      Ulimits: settings.ulimits.map(([type, { soft, hard }]) => ({
        Name: type.slice('RLIMIT_'.length).toLowerCase(),
        Hard: hard,
        Soft: soft,
      })),
      Init: settings.init,
    },
    Mounts: settings.mounts.map((mount) => mountPoint(mount, paths.volumeData)),
    Config: {
      Hostname: settings.hostname,
      Domainname: settings.domainname,
      User: settings.user,
      AttachStdin: settings.interactive,
      ExposedPorts: Object.fromEntries(settings.exposedPorts.map((port) => [port, {}])),
      Tty: settings.tty,
      OpenStdin: settings.interactive,
      Env: settings.env,
      Cmd: settings.command,
      Image: row.image,
      WorkingDir: settings.workdir,
      Entrypoint: settings.entrypoint.length === 0 ? null : settings.entrypoint,
      Labels: row.labels,
      StopSignal: signalName(settings.stopSignal),
      StopTimeout: settings.stopTimeout,
    },
    NetworkSettings: networkSettings(engine, row.id, settings),
  };
}

function bindText(mount: Exclude<ResolvedMount, { type: 'tmpfs' }>): string {
  return `${mount.source}:${mount.target}${mount.readOnly ? ':ro' : ''}`;
}

function mountPoint(mount: ResolvedMount, volumeData: (name: string) => string) {
  const common = { Destination: mount.target, RW: !mount.readOnly };
  switch (mount.type) {
    case 'tmpfs':
      return { Type: 'tmpfs', Source: '', ...common, Mode: (mount.options ?? []).join(',') };
    case 'volume':
      return {
        Type: 'volume',
        Name: mount.source,
        Source: volumeData(mount.source),
        ...common,
        Driver: 'local',
        Mode: mount.readOnly ? 'ro' : '',
      };
    case 'bind':
      return {
        Type: 'bind',
        Source: mount.source,
        ...common,
        Mode: mount.readOnly ? 'ro' : '',
        Propagation: mount.propagation ?? 'rprivate',
      };
  }
}

function securityOptions(settings: Settings): string[] {
  return [
    ...(settings.noNewPrivileges ? ['no-new-privileges'] : []),
    ...(settings.seccomp === 'default' ? [] : [`seccomp=${JSON.stringify(settings.seccomp).replace(/^"|"$/g, '')}`]),
  ];
}

function logConfig({ log }: Settings): Record<string, string> {
  return {
    'max-size': String(log.maxSize || -1),
    'max-file': String(log.maxFiles),
  };
}
