// Which blocks of addresses a network has: those asked for, checked; or free ones.

import { readFileSync } from 'node:fs';
import { sha256 } from '../../native.ts';
import { ConflictError, InvalidArgumentError } from '../errors.ts';
import {
  type Address,
  addressOf,
  contains,
  formatAddress,
  formatSubnet,
  numberOf,
  overlap,
  parseAddress,
  parseSubnet,
  sizeOf,
  type Subnet,
} from './addresses.ts';

/** As asked for. */
export interface SubnetOptions {
  /** `10.1.0.0/24`, `fd00:1::/64`. */
  subnet: string;
  /** The first address where left out. */
  gateway?: string | undefined;
  /** The block within the subnet that containers get addresses of unasked. */
  range?: string | undefined;
  /** Addresses that no container gets unasked. */
  reserved?: readonly string[] | undefined;
}

/** As it is kept: everything decided, every address in its canonical form. */
export interface NetworkSubnet {
  subnet: string;
  gateway: string;
  range?: string;
  reserved?: string[];
}

/** Where networks without a wish come from: 4096 of 254 containers each. Docker's and podman's are elsewhere. */
const pool = parseSubnet('10.64.0.0/12') as Subnet;
const poolBits = 24;

/** Checks what was asked for against itself. */
export function checkSubnet({ subnet, gateway, range, reserved = [] }: SubnetOptions): NetworkSubnet {
  const block = parseSubnet(subnet);
  if (!block) throw invalid(`invalid subnet ${subnet}: give ADDRESS/BITS, like 10.1.0.0/24`);
  if (sizeOf(block) < 4n) throw invalid(`invalid subnet ${subnet}: it has no room for a gateway and a container`);
  const within = (text: string, what: string): Address => {
    const address = parseAddress(text);
    if (!address) throw invalid(`invalid ${what} ${text}: it is no IP address`);
    if (!contains(block, address)) throw invalid(`invalid ${what} ${text}: it is outside ${formatSubnet(block)}`);
    return address;
  };
  const first = gateway === undefined ? addressOf(block, 1) : within(gateway, 'gateway');
  if (first.value === block.value) throw invalid(`invalid gateway ${gateway}: it is the network's own address`);
  const part = range === undefined ? undefined : parseSubnet(range);
  if (range !== undefined && (!part || part.bits < block.bits || !contains(block, part))) {
    throw invalid(`invalid range ${range}: it is no block of addresses within ${formatSubnet(block)}`);
  }
  return {
    subnet: formatSubnet(block),
    gateway: formatAddress(first),
    ...(part && { range: formatSubnet(part) }),
    ...(reserved.length > 0 && {
      reserved: reserved.map((text) => formatAddress(within(text, 'auxiliary address'))),
    }),
  };
}

/** Refuses a block that another network has: containers could not tell them apart. */
export function checkFree(subnet: NetworkSubnet, taken: readonly { name: string; subnet: string }[]): void {
  const block = parseSubnet(subnet.subnet) as Subnet;
  const other = taken.find((each) => overlap(parseSubnet(each.subnet) as Subnet, block));
  if (!other) return;
  throw new ConflictError(
    'SUBNET_IN_USE',
    `Pool overlaps with other one on this address space: ${subnet.subnet} with ${other.subnet} of network ${other.name}`,
    { hint: 'choose another --subnet' },
  );
}

/** A free IPv4 block: of no network, and of no route of the machine's. */
export function chooseSubnet(taken: readonly string[]): NetworkSubnet {
  const blocks = [...taken, ...routes()].map((text) => parseSubnet(text) as Subnet);
  const step = 1n << BigInt(32 - poolBits);
  for (let value = pool.value; value < pool.value + sizeOf(pool); value += step) {
    const block: Subnet = { family: 4, value, bits: poolBits };
    if (!blocks.some((other) => overlap(other, block))) return checkSubnet({ subnet: formatSubnet(block) });
  }
  throw new ConflictError('SUBNETS_EXHAUSTED', `every subnet of ${formatSubnet(pool)} is in use`, {
    hint: 'remove networks, or name a --subnet',
  });
}

/** A free IPv6 block of unique local addresses (RFC 4193) that are this engine's own. `seed`: what is unique to it. */
export function chooseSubnet6(taken: readonly string[], seed: string): NetworkSubnet {
  const global = sha256(Buffer.from(seed)).slice('sha256:'.length, 'sha256:'.length + 10);
  const blocks = [...taken].map((text) => parseSubnet(text) as Subnet);
  for (let subnet = 0n; ; subnet++) {
    const value = (0xfdn << 120n) | (BigInt(`0x${global}`) << 80n) | (subnet << 64n);
    const block: Subnet = { family: 6, value, bits: 64 };
    if (!blocks.some((other) => overlap(other, block))) return checkSubnet({ subnet: formatSubnet(block) });
  }
}

/** What a container may get: numbers within the subnet. */
export function leasable({ subnet, gateway, range, reserved = [] }: NetworkSubnet): {
  first: number;
  last: number;
  reserved: number[];
} {
  const block = parseSubnet(subnet) as Subnet;
  const part = range === undefined ? block : (parseSubnet(range) as Subnet);
  const number = (text: string) => Number(numberOf(block, parseAddress(text) as Address));
  const begin = numberOf(block, part);
  // Of a whole subnet the first is the network's own, and the last of IPv4 everybody's.
  const first = begin === 0n ? 1n : begin;
  const end = begin + sizeOf(part) - 1n;
  const last = block.family === 4 && end === sizeOf(block) - 1n ? end - 1n : end;
  const most = first + 0xffff_ffffn;
  return {
    first: Number(first),
    last: Number(last < most ? last : most),
    reserved: [gateway, ...reserved].map(number),
  };
}

export function hasFamily(subnets: readonly NetworkSubnet[], family: 4 | 6): boolean {
  return subnets.some(({ subnet }) => parseSubnet(subnet)?.family === family);
}

/** The address of that number, with the prefix's bits. */
export function addressIn({ subnet }: NetworkSubnet, number: number): string {
  const block = parseSubnet(subnet) as Subnet;
  return `${formatAddress(addressOf(block, number))}/${block.bits}`;
}

/** The IPv4 blocks that this machine has routes to, but for the default. */
function routes(): string[] {
  let table: string;
  try {
    table = readFileSync('/proc/self/net/route', 'latin1');
  } catch {
    return [];
  }
  const found: string[] = [];
  for (const line of table.trim().split('\n').slice(1)) {
    const fields = line.split('\t');
    // In the machine's own order of bytes: little endian on both architectures.
    const bytes = (hex: string) => Buffer.from(hex, 'hex').reverse();
    const [destination, mask] = [bytes(fields[1] ?? ''), bytes(fields[7] ?? '')];
    if (destination.length !== 4 || mask.length !== 4 || mask.readUInt32BE() === 0) continue;
    const bits = mask.readUInt32BE().toString(2).replaceAll('0', '').length;
    found.push(`${destination.join('.')}/${bits}`);
  }
  return found;
}

function invalid(message: string): InvalidArgumentError {
  return new InvalidArgumentError('SUBNET_INVALID', message, { exitCode: 1 });
}

/** Gateways, ranges and auxiliary addresses as Docker takes them, beside the subnets: each belongs to the one it is in. */
export function assign(
  subnets: readonly string[],
  given: Record<'gateway' | 'range' | 'reserved', readonly string[]>,
): SubnetOptions[] {
  const blocks = subnets.map((subnet) => parseSubnet(subnet));
  const owner = (text: string): number => {
    const address = parseAddress(text.split('/', 1)[0] ?? '');
    const at = blocks.findIndex((block) => block && address && contains(block, address));
    if (at < 0) throw invalid(`no subnet contains ${text}: name it with --subnet`);
    return at;
  };
  const found: { subnet: string; gateway?: string; range?: string; reserved: string[] }[] = subnets.map((subnet) => ({
    subnet,
    reserved: [],
  }));
  for (const kind of ['gateway', 'range'] as const) {
    for (const text of given[kind]) {
      const its = found[owner(text)]!;
      if (its[kind] !== undefined) throw invalid(`subnet ${its.subnet} cannot have two: ${its[kind]} and ${text}`);
      its[kind] = text;
    }
  }
  for (const text of given.reserved) found[owner(text)]!.reserved.push(text);
  return found;
}
