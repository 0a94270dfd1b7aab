// Limits: Docker's flags → numbers that hang together → the `linux.resources` of an OCI config. Pure.

import { InvalidArgumentError } from '../errors.ts';
import { bytes, cpuList, processors } from './notation/quantities.ts';
import type { CreateOptions } from './options.ts';

/** What was asked for; a limit that was not is not there. Bytes; -1 is no limit. */
export interface Limits {
  memory?: number;
  memorySwap?: number;
  memoryReservation?: number;
  cpus?: number;
  cpuShares?: number;
  cpusetCpus?: string;
  cpusetMems?: string;
  pidsLimit?: number;
}

const smallestMemory = 6 * 2 ** 20;
const period = 100_000;

export function resolveLimits(options: CreateOptions, online: ReadonlySet<number>): Limits {
  const limits: Limits = { ...memoryLimits(options) };
  if (options.cpus !== undefined) {
    const cpus = processors(options.cpus, '--cpus');
    if (cpus !== 0 && (cpus < 0.01 || cpus > online.size)) {
      throw new InvalidArgumentError(
        'CPUS_INVALID',
        `Range of CPUs is from 0.01 to ${online.size}.00, as there are only ${online.size} CPUs available`,
      );
    }
    if (cpus > 0) limits.cpus = cpus;
  }
  if (options.cpuShares !== undefined && options.cpuShares !== 0) {
    if (!Number.isSafeInteger(options.cpuShares) || options.cpuShares < 2 || options.cpuShares > 262_144) {
      throw new InvalidArgumentError(
        'CPU_SHARES_INVALID',
        `invalid CPU shares (${options.cpuShares}): give a whole number from 2 to 262144`,
      );
    }
    limits.cpuShares = options.cpuShares;
  }
  if (options.cpusetCpus) {
    const wanted = cpuList(options.cpusetCpus, '--cpuset-cpus');
    if (![...wanted].every((cpu) => online.has(cpu))) {
      throw new InvalidArgumentError(
        'CPU_LIST_INVALID',
        `Requested CPUs are not available - requested ${options.cpusetCpus}, available: ${[...online].join(',')}`,
      );
    }
    limits.cpusetCpus = options.cpusetCpus;
  }
  if (options.cpusetMems) {
    cpuList(options.cpusetMems, '--cpuset-mems');
    limits.cpusetMems = options.cpusetMems;
  }
  const pids = options.pidsLimit ?? 0;
  if (!Number.isSafeInteger(pids) || pids < -1) {
    throw new InvalidArgumentError('PIDS_LIMIT_INVALID', `invalid pids limit ${pids}: give a whole number, or -1`);
  }
  if (pids > 0) limits.pidsLimit = pids;
  return limits;
}

/** Docker's rule: without --memory-swap, as much swap as memory; -1 is all there is; the sum must not be less than memory. */
function memoryLimits(options: CreateOptions): Limits {
  const limits: Limits = {};
  const memory = options.memory === undefined ? 0 : bytes(options.memory, '--memory');
  const swap = options.memorySwap === undefined ? 0 : bytes(options.memorySwap, '--memory-swap');
  const reservation =
    options.memoryReservation === undefined ? 0 : bytes(options.memoryReservation, '--memory-reservation');
  if (memory < 0 || swap < -1 || reservation < 0) {
    throw new InvalidArgumentError(
      'MEMORY_INVALID',
      'a memory limit cannot be negative; --memory-swap -1 is no limit on swap',
    );
  }
  if (memory > 0 && memory < smallestMemory) {
    throw new InvalidArgumentError('MEMORY_INVALID', 'Minimum memory limit allowed is 6MB');
  }
  if (swap > 0 && memory === 0) {
    throw new InvalidArgumentError(
      'MEMORY_INVALID',
      'You should always set the Memory limit when using Memoryswap limit, see usage',
    );
  }
  if (swap > 0 && swap < memory) {
    throw new InvalidArgumentError(
      'MEMORY_INVALID',
      'Minimum memoryswap limit should be larger than memory limit, see usage',
    );
  }
  if (reservation > 0 && memory > 0 && reservation > memory) {
    throw new InvalidArgumentError(
      'MEMORY_INVALID',
      'Minimum memory limit can not be less than memory reservation limit, see usage',
    );
  }
  if (memory > 0) {
    limits.memory = memory;
    limits.memorySwap = swap === 0 ? 2 * memory : swap;
  }
  if (reservation > 0) limits.memoryReservation = reservation;
  return limits;
}

/** Whether the user asked for anything that only a cgroup can give; what to call it. */
export function askedLimits(limits: Limits): string[] {
  const flags: Record<keyof Limits, string> = {
    memory: '--memory',
    memorySwap: '--memory-swap',
    memoryReservation: '--memory-reservation',
    cpus: '--cpus',
    cpuShares: '--cpu-shares',
    cpusetCpus: '--cpuset-cpus',
    cpusetMems: '--cpuset-mems',
    pidsLimit: '--pids-limit',
  };
  return (Object.keys(limits) as (keyof Limits)[]).map((name) => flags[name]);
}

export interface DeviceRule {
  allow: boolean;
  type?: 'a' | 'b' | 'c';
  major?: number;
  minor?: number;
  access: string;
}

/** `linux.resources`, without what was not asked for. */
export function linuxResources(limits: Limits, devices: readonly DeviceRule[]): Record<string, unknown> {
  const resources: Record<string, unknown> = { devices };
  const { memory, memorySwap, memoryReservation } = limits;
  if (memory !== undefined || memoryReservation !== undefined) {
    resources['memory'] = { limit: memory, swap: memorySwap, reservation: memoryReservation };
  }
  const { cpus, cpuShares, cpusetCpus, cpusetMems } = limits;
  if (cpus !== undefined || cpuShares !== undefined || cpusetCpus !== undefined || cpusetMems !== undefined) {
    resources['cpu'] = {
      shares: cpuShares,
      ...(cpus === undefined ? {} : { quota: Math.round(cpus * period), period }),
      cpus: cpusetCpus,
      mems: cpusetMems,
    };
  }
  if (limits.pidsLimit !== undefined) resources['pids'] = { limit: limits.pidsLimit };
  return resources;
}
