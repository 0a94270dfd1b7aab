// The flags `run` and `create` share, and their translation into the engine's options: Docker's spelling on one side,
// CreateOptions on the other. Notations within a value (`512m`, `src:dst:ro`) are the engine's to parse.
import { resolve } from 'node:path';
import type { Flags, FlagValues } from '../cli/command.ts';
import { Failure } from '../cli/failure.ts';
import { integer, item, notation, oneOf, text, yes } from '../cli/values/basic.ts';
import { environment, label, labels, variable } from '../cli/values/environment.ts';
import { pair } from '../cli/values/pair.ts';
import { securityOptions } from '../cli/values/security.ts';
import type { CreateOptions } from '../engine/containers/options.ts';
import { say } from '../ui/output.ts';
import { plain } from '../ui/plain.ts';
import { networkOption, networkRate } from './network-rate.ts';
import { accessOf, registryFlags } from './registry-flags.ts';

export const containerFlags = {
  ...registryFlags,
  'add-host': { value: item, multiple: true, description: 'Add a custom host-to-IP mapping (host:ip)' },
  attach: { value: item, short: 'a', multiple: true, description: 'Attach to STDIN, STDOUT or STDERR' },
  'cap-add': { value: item, multiple: true, description: 'Add Linux capabilities' },
  'cap-drop': { value: item, multiple: true, description: 'Drop Linux capabilities' },
  'cgroup-parent': { value: text, description: 'Parent cgroup for the container' },
  cgroupns: { value: text, description: 'Cgroup namespace to use (host|private)' },
  cidfile: { value: text, description: 'Write the container ID to the file' },
  'cpu-shares': { value: integer, short: 'c', description: 'CPU shares (relative weight)' },
  cpus: { value: notation('decimal'), description: 'Number of CPUs' },
  'cpuset-cpus': { value: text, description: 'CPUs in which to allow execution (0-3, 0,1)' },
  'cpuset-mems': { value: text, description: 'MEMs in which to allow execution (0-3, 0,1)' },
  device: { value: item, multiple: true, description: 'Add a host device to the container' },
  dns: { value: item, multiple: true, description: 'Set custom DNS servers' },
  'dns-option': { value: item, multiple: true, description: 'Set DNS options' },
  'dns-search': { value: item, multiple: true, description: 'Set custom DNS search domains' },
  domainname: { value: text, description: 'Container NIS domain name' },
  egress: { value: item, multiple: true, description: 'What may be reached: deny, allow=CIDR,NAME,*.NAME' },
  entrypoint: { value: text, description: 'Overwrite the default ENTRYPOINT of the image' },
  env: { value: variable, short: 'e', multiple: true, description: 'Set environment variables' },
  'env-file': { value: item, multiple: true, description: 'Read in a file of environment variables' },
  expose: { value: item, multiple: true, description: 'Expose a port or a range of ports' },
  'group-add': { value: item, multiple: true, description: 'Add additional groups to join' },
  hostname: { value: text, short: 'h', description: 'Container host name' },
  init: { value: yes, description: 'Run an init inside the container that forwards signals and reaps processes' },
  interactive: { value: yes, short: 'i', description: 'Keep STDIN open even if not attached' },
  ip: { value: text, description: 'IPv4 address (e.g., 172.30.100.104)' },
  ip6: { value: text, description: 'IPv6 address (e.g., 2001:db8::33)' },
  ipc: { value: text, description: 'IPC mode to use (private|host|none)' },
  label: { value: label, short: 'l', multiple: true, description: 'Set meta data on a container' },
  'label-file': { value: item, multiple: true, description: 'Read in a line delimited file of labels' },
  'log-driver': { value: text, description: 'Logging driver for the container (json-file|none)' },
  'log-opt': {
    value: pair('log option'),
    multiple: true,
    description: 'Log driver options (max-size=20m, max-file=5)',
  },
  'mac-address': { value: text, description: 'Container MAC address (e.g., 92:d0:c6:0a:29:33)' },
  memory: { value: notation('bytes'), short: 'm', description: 'Memory limit' },
  'memory-reservation': { value: notation('bytes'), description: 'Memory soft limit' },
  'memory-swap': {
    value: notation('bytes'),
    description: "Swap limit equal to memory plus swap: '-1' to enable unlimited swap",
  },
  mount: { value: notation('mount'), multiple: true, description: 'Attach a filesystem mount to the container' },
  name: { value: text, description: 'Assign a name to the container' },
  network: {
    value: notation('network'),
    alias: 'net',
    multiple: true,
    description: 'Connect the container to a network (none|host|bridge|container:NAME|NAME)',
  },
  'network-opt': networkOption,
  'network-alias': { value: item, multiple: true, description: 'Add network-scoped alias for the container' },
  'oom-score-adj': { value: integer, description: "Tune host's OOM preferences (-1000 to 1000)" },
  pid: { value: text, description: 'PID namespace to use (host)' },
  'pids-limit': { value: integer, description: 'Tune container pids limit (set -1 for unlimited)' },
  platform: { value: text, description: 'Set platform if the image has several (os/arch[/variant])' },
  privileged: { value: yes, description: 'Give extended privileges to this container' },
  publish: { value: item, short: 'p', multiple: true, description: "Publish a container's port(s) to the host" },
  'publish-all': { value: yes, short: 'P', description: 'Publish all exposed ports to random ports' },
  pull: {
    value: oneOf(
      ['always', 'missing', 'never'],
      (given) => `invalid pull option: '${given}': must be one of "always", "missing" or "never"`,
    ),
    description: 'Pull image before running ("always", "missing", "never")',
  },
  quiet: { value: yes, short: 'q', description: 'Suppress the pull output' },
  'read-only': { value: yes, description: "Mount the container's root filesystem as read only" },
  rm: { value: yes, description: 'Automatically remove the container when it exits' },
  'security-opt': { value: item, multiple: true, description: 'Security options (seccomp=, no-new-privileges)' },
  'shm-size': { value: notation('bytes'), description: 'Size of /dev/shm' },
  'stop-signal': { value: text, description: 'Signal to stop the container' },
  'stop-timeout': { value: integer, description: 'Timeout (in seconds) to stop a container' },
  sysctl: { value: pair('sysctl'), multiple: true, description: 'Sysctl options' },
  tmpfs: { value: item, multiple: true, description: 'Mount a tmpfs directory' },
  tty: { value: yes, short: 't', description: 'Allocate a pseudo-TTY' },
  ulimit: { value: notation('ulimit'), multiple: true, description: 'Ulimit options' },
  user: { value: text, short: 'u', description: 'Username or UID (format: <name|uid>[:<group|gid>])' },
  userns: { value: text, description: 'User namespace to use (host|private|UID:COUNT)' },
  uts: { value: text, description: 'UTS namespace to use (host)' },
  volume: { value: item, short: 'v', multiple: true, description: 'Bind mount a volume' },
  workdir: { value: text, short: 'w', description: 'Working directory inside the container' },
} satisfies Flags;

/** What the engine is asked for. Refuses what it cannot do yet before anything has happened. */
export function createOptions(flags: FlagValues<typeof containerFlags>, command: readonly string[]): CreateOptions {
  return defined({
    command: command.length > 0 ? command : undefined,
    name: flags.name,
    entrypoint: flags.entrypoint,
    env: environment(flags['env-file'], flags.env),
    user: flags.user,
    workdir: flags.workdir,
    groupAdd: flags['group-add'],
    interactive: flags.interactive,
    tty: flags.tty,
    privileged: flags.privileged,
    hostname: flags.hostname,
    domainname: flags.domainname,
    rm: flags.rm,
    volumes: flags.volume.map(absoluteSource),
    mounts: flags.mount,
    tmpfs: flags.tmpfs,
    readOnly: flags['read-only'],
    shmSize: flags['shm-size'],
    memory: flags.memory,
    memorySwap: flags['memory-swap'],
    memoryReservation: flags['memory-reservation'],
    cpus: flags.cpus,
    cpuShares: flags['cpu-shares'],
    cpusetCpus: flags['cpuset-cpus'],
    cpusetMems: flags['cpuset-mems'],
    pidsLimit: flags['pids-limit'],
    capAdd: flags['cap-add'],
    capDrop: flags['cap-drop'],
    securityOpt: securityOptions(flags['security-opt']),
    devices: flags.device,
    ulimits: flags.ulimit,
    sysctls: Object.fromEntries(flags.sysctl),
    oomScoreAdj: flags['oom-score-adj'],
    init: flags.init,
    network: flags.network,
    networkAliases: flags['network-alias'],
    rate: networkRate(flags['network-opt'], 125),
    ip: flags.ip,
    ip6: flags.ip6,
    macAddress: flags['mac-address'],
    publish: flags.publish,
    publishAll: flags['publish-all'],
    expose: flags.expose,
    egress: flags.egress,
    dns: flags.dns,
    dnsSearch: flags['dns-search'],
    dnsOptions: flags['dns-option'],
    addHosts: flags['add-host'],
    pid: namespace('pid', 'PID', flags.pid, ['private', 'host']),
    ipc: namespace('ipc', 'IPC', flags.ipc, ['private', 'host', 'none']),
    uts: namespace('uts', 'UTS', flags.uts, ['private', 'host']),
    cgroupns: namespace('cgroupns', 'CGROUP', flags.cgroupns, ['private', 'host']),
    userns: flags.userns || undefined,
    labels: labels(flags['label-file'], flags.label),
    stopSignal: flags['stop-signal'] || undefined,
    stopTimeout: flags['stop-timeout'],
    cgroupParent: flags['cgroup-parent'],
    logDriver: logDriver(flags['log-driver']),
    logOptions: Object.fromEntries(flags['log-opt']),
    pull: flags.pull,
    platform: flags.platform,
    access: defined(accessOf(flags)),
  });
}

/** Given to the engine as `onWarning`. */
export function warn(message: string): void {
  say(`WARNING: ${plain(message)}`);
}

/** A host path beginning with a dot is relative to where the user stands, which only the face knows. */
function absoluteSource(volume: string): string {
  if (!/^\.{1,2}(\/|:)/.test(volume)) return volume;
  const colon = volume.indexOf(':');
  return colon < 0 ? volume : resolve(volume.slice(0, colon)) + volume.slice(colon);
}

function namespace<const Mode extends string>(
  flag: string,
  kind: string,
  given: string | undefined,
  modes: readonly Mode[],
): Mode | undefined {
  if (given === undefined || given === '') return undefined;
  const mode = modes.find((candidate) => candidate === given);
  if (mode === undefined)
    throw new Failure(`--${flag}: invalid ${kind} mode: ${given}: use ${modes.join(' or ')}`, 125);
  return mode;
}

function logDriver(given: string | undefined): CreateOptions['logDriver'] {
  if (given === undefined || given === 'json-file' || given === 'none') return given;
  throw new Failure(`--log-driver ${given}: no such logging driver: use json-file or none`, 125);
}

/** Leaves out what was not given, so that the engine's own defaults hold. */
function defined<T extends object>(options: T): { [K in keyof T]?: Exclude<T[K], undefined> } {
  const given = Object.entries(options).filter(([, value]) => {
    if (value === undefined) return false;
    if (Array.isArray(value)) return value.length > 0;
    return typeof value !== 'object' || Object.keys(value).length > 0;
  });
  return Object.fromEntries(given) as { [K in keyof T]?: Exclude<T[K], undefined> };
}
