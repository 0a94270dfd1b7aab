// What a container can be asked to be: the options of create, run, exec and the other verbs.
// Named after Docker's flags. Where a flag has a notation of its own ("512m", "src:dst:ro"), a string is parsed by the engine,
// and an object or a number is accepted too. Owns no behaviour.

import type { Readable } from 'node:stream';

import type { PortRow } from '../../native.ts';
import type { Access } from '../../registry/client.ts';
import type { LayerProgress, PullPolicy } from '../images.ts';
import type { PortMapping } from '../networks/ports.ts';

export type Signal = NodeJS.Signals | number | string;

/** A network that a container is to be on. */
export interface NetworkRequest {
  /** Its name, or its id; `none`, `host`, `container:NAME` and `ns:PATH` stand alone. */
  network: string;
  /** More names that others on it find the container by. */
  aliases?: readonly string[] | undefined;
  /** A free one where left out. */
  ip?: string | undefined;
  ip6?: string | undefined;
  macAddress?: string | undefined;
  /** Name of the interface in the container: eth0, eth1, … in the networks' order where left out. */
  interface?: string | undefined;
  /** What it may send, and receive, in a second, as tc(8) writes it: `10mbit`. On bridges. */
  rate?: string | undefined;
}

export interface BindMount {
  type: 'bind';
  /** An absolute path on the host. */
  source: string;
  target: string;
  readOnly?: boolean;
  propagation?: 'private' | 'rprivate' | 'shared' | 'rshared' | 'slave' | 'rslave';
  /** Leave out what is mounted below the source. */
  nonRecursive?: boolean;
  /** Make the source a directory when it is missing: `-v` does, `--mount` does not. */
  createSource?: boolean;
}

export interface VolumeMount {
  type: 'volume';
  /** The volume's name; without one, an anonymous volume that goes with the container. */
  source?: string;
  target: string;
  readOnly?: boolean;
  /** Do not copy what the image has at the target into the empty volume. */
  noCopy?: boolean;
}

export interface TmpfsMount {
  type: 'tmpfs';
  target: string;
  /** Bytes; without one, half of the memory, as the kernel has it. */
  size?: number;
  mode?: number;
  readOnly?: boolean;
  /** Mount options by name, such as `exec` or `uid=1000`. */
  options?: readonly string[];
}

export type Mount = BindMount | VolumeMount | TmpfsMount;

export interface Device {
  source: string;
  /** The path in the container; the source's when left out. */
  target?: string;
  /** Of `r`, `w` and `m`; all three when left out. */
  permissions?: string;
}

export interface Ulimit {
  soft: number;
  hard: number;
}

export interface SecurityOptions {
  /** `default`, `unconfined`, or a profile in Docker's or OCI's JSON, parsed. */
  seccomp?: 'default' | 'unconfined' | object;
  noNewPrivileges?: boolean;
}

/** What the program is given: its words, environment and identity. */
export interface ProcessOptions {
  /** The words after the image's name; they replace the image's Cmd. */
  command?: readonly string[];
  /** `NAME=value` pairs, or an object. A bare `NAME` in the list takes the image's variable away. */
  env?: Readonly<Record<string, string>> | readonly string[];
  /** `name|uid[:group|gid]`, looked up in the container's own /etc/passwd. */
  user?: string;
  workdir?: string;
  groupAdd?: readonly (string | number)[];
  /** Keep standard input open. */
  interactive?: boolean;
  /** Give the program a terminal. */
  tty?: boolean;
  /** The terminal's first size. */
  columns?: number;
  rows?: number;
  privileged?: boolean;
}

/** Options of `create`. Sizes are bytes, or a string with Docker's suffix b, k, m, g. Times are seconds. */
export interface CreateOptions extends ProcessOptions {
  name?: string;
  /** Replaces the image's Entrypoint, and drops its Cmd; an empty string resets it. */
  entrypoint?: string | readonly string[];
  hostname?: string;
  domainname?: string;
  /** Remove the container, and its anonymous volumes, when it ends. */
  rm?: boolean;
  /** `-v` notation or parsed mounts. */
  volumes?: readonly (string | Mount)[];
  /** `--mount` notation or parsed mounts. */
  mounts?: readonly (string | Mount)[];
  /** `--tmpfs` notation (`/run:size=64m,exec`) or parsed mounts. */
  tmpfs?: readonly (string | Omit<TmpfsMount, 'type'>)[];
  readOnly?: boolean;
  shmSize?: number | string;
  memory?: number | string;
  /** Memory and swap together; -1 is no limit on swap. */
  memorySwap?: number | string;
  memoryReservation?: number | string;
  /** Processors, in fractions: 1.5 is a CPU and a half. */
  cpus?: number | string;
  cpuShares?: number;
  /** `0-2,7` */
  cpusetCpus?: string;
  cpusetMems?: string;
  /** -1 or 0: no limit. */
  pidsLimit?: number;
  capAdd?: readonly string[];
  capDrop?: readonly string[];
  securityOpt?: SecurityOptions;
  devices?: readonly (string | Device)[];
  /** By name without RLIMIT_ (`nofile`), or `nofile=1024:2048` strings. */
  ulimits?: Readonly<Record<string, Ulimit>> | readonly string[];
  sysctls?: Readonly<Record<string, string>>;
  oomScoreAdj?: number;
  /** PID 1 is kapsel's init, the program its child. */
  init?: boolean;
  /**
   * `none`, `host`, `container:NAME`, `ns:PATH`, or networks of this engine, `bridge` among them; the engine's default
   * where left out.
   */
  network?: string | NetworkRequest | readonly (string | NetworkRequest)[];
  /** More names on the first network. */
  networkAliases?: readonly string[];
  /** As on the first network: see `NetworkRequest`. */
  rate?: string;
  /** Addresses on the first network. */
  ip?: string;
  ip6?: string;
  macAddress?: string;
  /** `[[ADDRESS:][HOST_PORT]:]PORT[/PROTOCOL]`, ranges too. */
  publish?: readonly (string | PortMapping)[];
  /** Every port that the image exposes, and those of `expose`, to a free port of the host. */
  publishAll?: boolean;
  /** `PORT[-END][/PROTOCOL]` */
  expose?: readonly string[];
  /** What the container may reach: `deny`, `allow=CIDR,NAME,*.NAME…`; everything where left out. */
  egress?: readonly string[];
  /** Addresses of name servers instead of the host's. */
  dns?: readonly string[];
  dnsSearch?: readonly string[];
  dnsOptions?: readonly string[];
  /** `NAME:ADDRESS`; `host-gateway` is the host. */
  addHosts?: readonly string[];
  pid?: 'private' | 'host';
  ipc?: 'private' | 'host' | 'none';
  uts?: 'private' | 'host';
  cgroupns?: 'private' | 'host';
  /** `host`: no user namespace. `private`, as root: subordinate ids of user `kapsel`, or `UID:COUNT`, mapped to 0. */
  userns?: 'host' | 'private' | string;
  labels?: Readonly<Record<string, string>>;
  stopSignal?: Signal;
  /** Seconds between the stop signal and SIGKILL; -1 waits for ever. */
  stopTimeout?: number;
  cgroupParent?: string;
  logDriver?: 'json-file' | 'none';
  /** `max-size` (with suffix, default 20m, -1 is no limit) and `max-file` (default 5) of json-file. */
  logOptions?: Readonly<Record<string, string>>;
  pull?: PullPolicy;
  /** `os/architecture[/variant]` */
  platform?: string;
  /** How the registry is spoken to, where the image is pulled. */
  access?: Access;
  /** Attach no stream and return when the program runs. Meaningful to faces only. */
  detach?: boolean;
  /** Ends a pull or a start that is under way. */
  signal?: AbortSignal;
  /** Told of each default that this machine or user cannot give, such as cgroups without delegation. */
  onWarning?: (message: string) => void;
  /** Told of a pull's progress. */
  onProgress?: (progress: LayerProgress) => void;
}

export interface RunOptions extends CreateOptions {
  /** Written to the program's standard input, which is then closed. */
  input?: string | Uint8Array | Readable;
  /** `utf8`: text; `buffer`: Buffers. */
  encoding?: 'utf8' | 'buffer';
  /** Bytes kept of each of stdout and stderr, 100 MiB unless told; more kills the container. */
  maxBuffer?: number;
  /** Seconds after which the container is killed. */
  timeout?: number;
  /** True unless told otherwise: nothing of the container stays. */
  rm?: boolean;
}

export interface ExecOptions extends ProcessOptions {
  command: readonly string[];
  input?: string | Uint8Array | Readable;
  encoding?: 'utf8' | 'buffer';
  maxBuffer?: number;
  /** SIGKILLs the program when aborted. */
  signal?: AbortSignal;
}

/** How a program ended. */
export interface ExitStatus {
  /** The program's own, or 128 + the signal's number. */
  exitCode: number;
  /** The signal that ended it. */
  signal?: NodeJS.Signals;
  oomKilled: boolean;
  /** RFC 3339, nanoseconds, UTC. */
  finishedAt: string;
  /** The user typed the detach keys: the program still runs. */
  detached?: boolean;
}

export interface RunResult<Output = string> extends ExitStatus {
  id: string;
  stdout: Output;
  stderr: Output;
  /** Milliseconds from the call to the exit. */
  duration: number;
  warnings: readonly string[];
}

export interface ExecResult<Output = string> extends ExitStatus {
  stdout: Output;
  stderr: Output;
  duration: number;
}

/** Descriptors the container's streams are joined to directly, without Node's streams. */
export interface Stdio {
  stdin?: number;
  stdout?: number;
  stderr?: number;
  /** Bytes that, typed in a row, let go of a terminal; Docker's `ctrl-p,ctrl-q` unless told, empty for none. */
  detachKeys?: Uint8Array;
}

export interface LogsOptions {
  follow?: boolean;
  /** The last lines only. */
  tail?: number;
  /** Not before: RFC 3339, Unix seconds, or a Date. */
  since?: string | number | Date;
  until?: string | number | Date;
  stdout?: boolean;
  stderr?: boolean;
  signal?: AbortSignal;
}

export interface LogEntry {
  stream: 'stdout' | 'stderr';
  /** With its newline, where the program wrote one. */
  text: string;
  /** RFC 3339, nanoseconds, UTC. */
  time: string;
}

export interface ListOptions {
  /** Those that do not run, too. */
  all?: boolean;
  /** Docker's filters: id, name, label, status, ancestor, exited, volume, network, publish, expose; each with any of several values. */
  filters?: Readonly<Record<string, readonly string[]>>;
  /** The newest so many. */
  last?: number;
}

export interface StopOptions {
  signal?: Signal;
  /** Seconds before SIGKILL; the container's own when left out. */
  timeout?: number;
}

export interface RemoveOptions {
  /** Kill it first when it runs. */
  force?: boolean;
  /** Its anonymous volumes, too. */
  volumes?: boolean;
}

export interface CheckpointOptions {
  /** A file to write everything to that a restore elsewhere needs. */
  export?: string;
  /** How it is packed; zstd unless told. */
  compress?: 'none' | 'gzip' | 'zstd';
  /** The container runs on afterwards. */
  leaveRunning?: boolean;
  /** Established TCP connections are kept. */
  tcpEstablished?: boolean;
  /** File locks are kept. */
  fileLocks?: boolean;
  /** Without what the container has changed in its root. */
  ignoreRootfs?: boolean;
}

export interface RestoreOptions {
  /** Established TCP connections are kept; as at the checkpoint. */
  tcpEstablished?: boolean;
  /** File locks are kept; as at the checkpoint. */
  fileLocks?: boolean;
  /** The checkpoint stays, for another restore. */
  keep?: boolean;
}

export interface RestoreArchiveOptions extends RestoreOptions {
  /** The container's new name; it gets a new id too. */
  name?: string;
  /** Ends the work when aborted. */
  signal?: AbortSignal;
  /** Told of the pull's progress, where its image is not here. */
  onProgress?: (progress: LayerProgress) => void;
}

export type ContainerStatus = 'created' | 'starting' | 'running' | 'paused' | 'exited';

/** A line of `ps`. */
export interface ContainerSummary {
  id: string;
  name: string;
  /** As it was asked for. */
  image: string;
  imageId: string;
  command: readonly string[];
  /** RFC 3339. */
  createdAt: string;
  startedAt?: string;
  finishedAt?: string;
  status: ContainerStatus;
  exitCode?: number;
  pid?: number;
  labels: Readonly<Record<string, string>>;
  mounts: readonly string[];
  /** Names of networks, or how it has none of its own. */
  networks: readonly string[];
  /** Of the host, while it runs. */
  ports: readonly PortRow[];
  /** `PORT/PROTOCOL` */
  exposedPorts: readonly string[];
}

/** A container that is running attached to descriptors: what `kapsel run` holds on to. */
export interface Session {
  /** Resolves when the program runs; rejects with exit code 125, 126 or 127 when it cannot. */
  started: Promise<{ pid: number }>;
  /** Resolves at the end, when every byte of output has been delivered, or at the detach keys. */
  exited: Promise<ExitStatus>;
  kill(signal: Signal): Promise<void>;
  resize(columns: number, rows: number): Promise<void>;
  /** Lets go; the program runs on. */
  close(): void;
}

export interface CommitOptions {
  /** `name[:tag]` for the image. */
  reference?: string | undefined;
  author?: string | undefined;
  message?: string | undefined;
  /** Dockerfile instructions laid over the config: `CMD ["sh"]`, `ENV A=b`. */
  changes?: readonly string[] | undefined;
  /** True by default: a program that writes meanwhile would leave half a file. */
  pause?: boolean | undefined;
  /** Seconds since 1970: the image is of then and nothing in its layer is newer, so that the same changes are the same image. */
  sourceDateEpoch?: number | undefined;
  signal?: AbortSignal | undefined;
}

export interface ExportOptions {
  /** Seconds since 1970: nothing in the tar is newer. */
  sourceDateEpoch?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** A path that a container has added, changed or deleted. */
export interface PathChange {
  kind: 'A' | 'C' | 'D';
  path: string;
}
