// Docker's notations for amounts: bytes, processors, resource limits, CPU lists, signals. Text in, numbers out.

import { constants } from 'node:os';

import { InvalidArgumentError } from '../../errors.ts';
import type { Signal, Ulimit } from '../options.ts';

const binary: Record<string, number> = { '': 1, b: 1, k: 2 ** 10, m: 2 ** 20, g: 2 ** 30, t: 2 ** 40, p: 2 ** 50 };

/** `512m`, `1.5g`, `1GiB`, `4096`; every unit is a power of 1024, as Docker has it. */
export function bytes(given: number | string, option: string): number {
  if (typeof given === 'number') {
    if (Number.isSafeInteger(given)) return given;
  } else {
    if (given === '-1') return -1;
    const [, amount, unit] = /^(\d+(?:\.\d+)?) ?([bkmgtp]?)(?:i?b)?$/i.exec(given) ?? [];
    if (amount !== undefined && unit !== undefined) {
      const size = Math.trunc(Number(amount) * binary[unit.toLowerCase()]!);
      if (Number.isSafeInteger(size)) return size;
    }
  }
  throw new InvalidArgumentError(
    'SIZE_INVALID',
    `invalid size '${given}' for ${option}: give bytes, or a number with b, k, m or g, such as 512m`,
  );
}

/** Docker's `--cpus`: decimals, to a billionth of a processor. */
export function processors(given: number | string, option: string): number {
  const cpus = typeof given === 'number' ? given : /^\d*\.?\d+$|^\d+\.$/.test(given) ? Number(given) : Number.NaN;
  if (Number.isFinite(cpus) && cpus >= 0) return cpus;
  throw new InvalidArgumentError(
    'CPUS_INVALID',
    `invalid value '${given}' for ${option}: give a number of processors, such as 1.5`,
  );
}

/** `0-2,7` as the set of numbers it means. */
export function cpuList(given: string, option: string): Set<number> {
  const numbers = new Set<number>();
  for (const part of given.split(',')) {
    const [, first, last = first] = /^(\d{1,5})(?:-(\d{1,5}))?$/.exec(part.trim()) ?? [];
    if (first === undefined || Number(last) < Number(first)) {
      throw new InvalidArgumentError(
        'CPU_LIST_INVALID',
        `invalid value '${given}' for ${option}: give a list such as 0-2,7`,
      );
    }
    for (let number = Number(first); number <= Number(last); number++) numbers.add(number);
  }
  return numbers;
}

/** The kernel's resource limits by Docker's names, with the unit of the names that have one. */
const limits = [
  'as',
  'core',
  'cpu',
  'data',
  'fsize',
  'locks',
  'memlock',
  'msgqueue',
  'nice',
  'nofile',
  'nproc',
  'rss',
  'rtprio',
  'rttime',
  'sigpending',
  'stack',
];

/** `nofile=1024:2048`, or an object of them, as `[RLIMIT_NOFILE, limit]` pairs. -1 is no limit. */
export function ulimits(given: Readonly<Record<string, Ulimit>> | readonly string[]): [type: string, Ulimit][] {
  const entries: [string, Ulimit, string][] = Array.isArray(given)
    ? given.map((text) => [...ulimit(text), text])
    : Object.entries(given as Record<string, Ulimit>).map(([name, limit]) => [name, limit, name]);
  const byType = new Map<string, Ulimit>();
  for (const [name, limit, text] of entries) {
    if (!limits.includes(name)) {
      throw new InvalidArgumentError('ULIMIT_INVALID', `invalid ulimit type: ${name}: known are ${limits.join(', ')}`);
    }
    const { soft, hard } = limit;
    if (![soft, hard].every((value) => Number.isSafeInteger(value) && value >= -1)) {
      throw new InvalidArgumentError('ULIMIT_INVALID', `invalid ulimit '${text}': limits are whole numbers, or -1`);
    }
    if (hard !== -1 && (soft === -1 || soft > hard)) {
      throw new InvalidArgumentError(
        'ULIMIT_INVALID',
        `ulimit soft limit must be less than or equal to hard limit: ${soft} > ${hard}`,
      );
    }
    byType.set(`RLIMIT_${name.toUpperCase()}`, { soft, hard });
  }
  return [...byType];
}

function ulimit(text: string): [string, Ulimit] {
  const [, name, soft, hard = soft] = /^(\w+)=(-1|\d+|unlimited)(?::(-1|\d+|unlimited))?$/.exec(text) ?? [];
  if (name === undefined || soft === undefined || hard === undefined) {
    throw new InvalidArgumentError('ULIMIT_INVALID', `invalid ulimit argument: ${text}: give TYPE=SOFT[:HARD]`);
  }
  const value = (limit: string) => (limit === 'unlimited' ? -1 : Number(limit));
  return [name, { soft: value(soft), hard: value(hard) }];
}

const realtimeFirst = 34;
const realtimeLast = 64;

/** `SIGTERM`, `term`, `15`, `RTMIN+3` as the kernel's number. */
export function signalNumber(given: Signal): number {
  const text = String(given).trim().toUpperCase();
  if (/^\d+$/.test(text)) {
    const number = Number(text);
    if (number >= 1 && number <= realtimeLast) return number;
  } else {
    const name = text.replace(/^SIG/, '');
    const known = (constants.signals as Record<string, number>)[`SIG${name}`];
    if (known !== undefined) return known;
    const [, edge, sign, offset = '0'] = /^RT(MIN|MAX)(?:([+-])(\d+))?$/.exec(name) ?? [];
    if (edge !== undefined) {
      const base = edge === 'MIN' ? realtimeFirst : realtimeLast;
      const number = base + (sign === '-' ? -1 : 1) * Number(offset);
      if (number >= realtimeFirst && number <= realtimeLast) return number;
    }
  }
  throw new InvalidArgumentError(
    'SIGNAL_INVALID',
    `invalid signal: ${given}: give a name such as SIGTERM, or a number`,
  );
}

const names = new Map<number, string>();

/** The first name of a signal's number: `SIGTERM`. */
export function signalName(number: number): NodeJS.Signals {
  if (names.size === 0) {
    for (const [name, value] of Object.entries(constants.signals)) if (!names.has(value)) names.set(value, name);
  }
  return (names.get(number) ?? `SIG${number}`) as NodeJS.Signals;
}
