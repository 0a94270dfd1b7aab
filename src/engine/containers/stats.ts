// What a running container has used: its cgroup's counters, as its monitor reads them, and its interfaces'.

import { readFileSync, readlinkSync } from 'node:fs';
import { totalmem } from 'node:os';
import type { MonitorStats } from '../../native.ts';
import { Connection } from './connection.ts';

/** Since the container began. */
export interface ContainerStats {
  /** RFC 3339. */
  readAt: string;
  /** Nanoseconds of processor time. */
  cpu: { usage: number; user: number; system: number; periods: number; throttledPeriods: number; throttled: number };
  /** Bytes. `usage` is without what the kernel drops first, as Docker counts; without a limit that is the machine's memory. */
  memory: { usage: number; limit: number; peak?: number; swap?: number; oomKills: number };
  pids: { current: number; limit?: number };
  /** Of all devices. */
  blockIo: { readBytes: number; writeBytes: number; reads: number; writes: number };
  /** By the interface's name; none where it is on the host's network, or on none. */
  networks: Record<string, InterfaceStats>;
}

export interface InterfaceStats {
  rxBytes: number;
  rxPackets: number;
  rxErrors: number;
  rxDropped: number;
  txBytes: number;
  txPackets: number;
  txErrors: number;
  txDropped: number;
}

/** Takes the connection over. `pid`: of the container's program. */
export async function readStats(fd: number, pid: number | null): Promise<ContainerStats> {
  const connection = new Connection(fd);
  try {
    const { stats } = await connection.ask({ request: 'stats' });
    return describe(stats as MonitorStats, pid === null ? {} : interfaces(pid));
  } finally {
    connection.close();
  }
}

function describe({ cpu, memory, pids, blockIo }: MonitorStats, networks: ContainerStats['networks']): ContainerStats {
  const { peak = null, swap = null, limit = null } = memory ?? {};
  const total = { readBytes: 0, writeBytes: 0, reads: 0, writes: 0 };
  for (const device of Object.values(blockIo)) {
    for (const name of Object.keys(total) as (keyof typeof total)[]) total[name] += device[name];
  }
  return {
    readAt: new Date().toISOString(),
    cpu: cpu ?? { usage: 0, user: 0, system: 0, periods: 0, throttledPeriods: 0, throttled: 0 },
    memory: {
      usage: Math.max(0, (memory?.usage ?? 0) - (memory?.inactiveFile ?? 0)),
      limit: Math.min(limit ?? Infinity, totalmem()),
      ...(peak !== null && { peak }),
      ...(swap !== null && { swap }),
      oomKills: memory?.oomKills ?? 0,
    },
    pids: { current: pids?.current ?? 0, ...(pids?.limit != null && { limit: pids.limit }) },
    blockIo: total,
    networks,
  };
}

/** Those of a process, but for the loopback; none where they are this process's own, too. */
function interfaces(pid: number): ContainerStats['networks'] {
  const networks: ContainerStats['networks'] = {};
  try {
    if (readlinkSync(`/proc/${pid}/ns/net`) === readlinkSync('/proc/self/ns/net')) return networks;
    for (const [name, counts] of parseInterfaces(readFileSync(`/proc/${pid}/net/dev`, 'utf8'))) {
      if (name !== 'lo') networks[name] = counts;
    }
  } catch {
    // It has ended meanwhile.
  }
  return networks;
}

/** proc_pid_net(5), `dev`: two lines of headers, then a line an interface, first what it received. */
function parseInterfaces(text: string): [string, InterfaceStats][] {
  return text
    .split('\n')
    .slice(2)
    .filter((line) => line.includes(':'))
    .map((line) => {
      const [name = '', counts = ''] = line.split(/:(.*)/s);
      const n = counts.trim().split(/\s+/).map(Number);
      const at = (index: number) => n[index] ?? 0;
      return [
        name.trim(),
        {
          rxBytes: at(0),
          rxPackets: at(1),
          rxErrors: at(2),
          rxDropped: at(3),
          txBytes: at(8),
          txPackets: at(9),
          txErrors: at(10),
          txDropped: at(11),
        },
      ];
    });
}
