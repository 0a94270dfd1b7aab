// What processes and streams are described by, and what comes back. Types only.

/** What to start, and with which file descriptors. */
export interface SpawnOptions {
  /**
   * Absolute, an ELF executable. It is reached in a way that no container can write to it by (CVE-2019-5736): as root by a
   * read-only clone of its mount; else, where this user could write to the file, by a sealed copy in memory.
   */
  path: string;
  /** The whole argument vector, argv[0] included. */
  argv: string[];
  /** `NAME=value` lines: the whole environment of the child. */
  env: string[];
  /** The child's fd 0, 1, 2, …: numbers of this process, or null for /dev/null. No other fd reaches the child. */
  fds: (number | null)[];
  /** A session of its own, so that no terminal's signals reach it. */
  setsid?: boolean;
}

/** How a child of `spawn` ended: one of the two is null. */
export interface ChildExit {
  exitCode: number | null;
  signal: number | null;
}

/** What to compress, between two descriptors that are closed when it is done. */
export interface CompressOptions {
  input: number;
  output: number;
  compression: 'gzip' | 'zstd';
  /** The method's own measure of effort; by default gzip's 6, zstd's 3. */
  level?: number;
}

/** What `compress` has written. */
export interface Compressed {
  digest: string;
  /** Bytes. */
  size: number;
}

export interface PumpOptions {
  /**
   * The connection to the monitor, with the attach or exec already sent. Stays the caller's to close, after the pump has
   * ended. Without one (where the caller reads the connection itself) the pump ends with the container's outputs.
   */
  connection?: number;
  /** Where the container's stdin is written; the pump owns and closes it (at the end of `input`, or at the end). */
  stdin?: number;
  /** Where the container's stdout and stderr are read; the pump owns and closes them. */
  stdout?: number;
  stderr?: number;
  /** stdin and stdout are a pty's: `input` is searched for the detach keys. */
  terminal: boolean;
  /** Bytes that, typed in a row, let go; Docker's `ctrl-p,ctrl-q` unless told, empty for none. */
  detachKeys?: Uint8Array;
  /** This process's own side, default 0, 1 and 2; never closed. */
  input?: number;
  output?: number;
  errorOutput?: number;
}

/** An event line of a monitor (ARCHITECTURE.md, "The connection"). */
export type MonitorEvent =
  | { event: 'started'; pid: number; startedAt: string; filterMade?: boolean }
  | { event: 'failed'; exitCode: 125 | 126 | 127; code: string; message: string; errno?: number }
  | { event: 'exited'; exitCode: number; signal?: number | null; oomKilled: boolean; finishedAt: string };

/** A line of the connection that answers a request. */
/** What a container's cgroup counts; null is what its kernel does not. */
export interface MonitorStats {
  cpu: {
    /** Nanoseconds. */
    usage: number;
    user: number;
    system: number;
    periods: number;
    throttledPeriods: number;
    throttled: number;
  } | null;
  memory: {
    /** Bytes. */
    usage: number;
    peak: number | null;
    limit: number | null;
    swap: number | null;
    inactiveFile: number;
    oomKills: number;
  } | null;
  pids: { current: number; limit: number | null } | null;
  /** By `MAJOR:MINOR`. */
  blockIo: Record<string, { readBytes: number; writeBytes: number; reads: number; writes: number }>;
}

export type MonitorReply = { reply: 'ok'; stats?: MonitorStats } | { reply: 'error'; code: string; message: string };

/** How a pump ended: by the monitor's last event, or by one of these. */
export type PumpEnd =
  | Exclude<MonitorEvent, { event: 'started' }>
  /** The detach keys were typed. */
  | { event: 'detached' }
  /** Nobody reads this process's output any more (EPIPE): docker ends here, quietly, and the container goes on. */
  | { event: 'closed' }
  /** There was no connection, and the container's outputs have ended. */
  | { event: 'ended' }
  /** The connection ended without a last event: the monitor is gone, `Database.reconcile` knows the rest. */
  | { event: 'lost' };
