// Arithmetic of IP addresses and subnets. An address is a number of its family; nothing here asks the network.

import { isIPv4, isIPv6 } from 'node:net';

export interface Address {
  family: 4 | 6;
  value: bigint;
}

/** An address block; `value` is its first address. */
export interface Subnet extends Address {
  /** Bits of the prefix. */
  bits: number;
}

const width = { 4: 32, 6: 128 } as const;

/** Undefined where the text is no address. Zones (`%eth0`) are none. */
export function parseAddress(text: string): Address | undefined {
  if (isIPv4(text)) return { family: 4, value: BigInt(`0x${text.split('.').map(octet).join('')}`) };
  if (!isIPv6(text) || text.includes('%')) return undefined;
  // An IPv4 address may be its end.
  const [, head = '', dotted] = /^(.*:)(\d+\.\d+\.\d+\.\d+)$/.exec(text) ?? [];
  const tail = dotted?.split('.').map(octet).join('');
  const plain = tail === undefined ? text : `${head}${tail.slice(0, 4)}:${tail.slice(4)}`;
  const [left = '', right] = plain.split('::');
  const groups = (part: string) => (part === '' ? [] : part.split(':'));
  const before = groups(left);
  const after = groups(right ?? '');
  const zeros = Array<string>(8 - before.length - after.length).fill('0');
  const all = right === undefined ? before : [...before, ...zeros, ...after];
  return { family: 6, value: BigInt(`0x${all.map((group) => group.padStart(4, '0')).join('')}`) };
}

const octet = (text: string) => Number(text).toString(16).padStart(2, '0');

/** The text of RFC 5952: the longest run of zeros is `::`. */
export function formatAddress({ family, value }: Address): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => String((value >> shift) & 255n)).join('.');
  const groups = Array.from({ length: 8 }, (_, at) => ((value >> BigInt(112 - 16 * at)) & 0xffffn).toString(16));
  let best = { at: 0, length: 0 };
  for (let at = 0; at < 8; at++) {
    let length = 0;
    while (groups[at + length] === '0') length++;
    if (length > best.length) best = { at, length };
  }
  if (best.length < 2) return groups.join(':');
  return `${groups.slice(0, best.at).join(':')}::${groups.slice(best.at + best.length).join(':')}`;
}

/** Undefined where the text is no block; bits beyond the prefix are cleared. */
export function parseSubnet(text: string): Subnet | undefined {
  const [, address = '', length = ''] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? [];
  const parsed = parseAddress(address);
  const bits = Number(length);
  if (!parsed || bits > width[parsed.family]) return undefined;
  return blockAround(parsed, bits);
}

export function formatSubnet(subnet: Subnet): string {
  return `${formatAddress(subnet)}/${subnet.bits}`;
}

/** How many addresses it has. */
export function sizeOf({ family, bits }: Subnet): bigint {
  return 1n << BigInt(width[family] - bits);
}

export function contains(subnet: Subnet, address: Address): boolean {
  return subnet.family === address.family && blockAround(address, subnet.bits).value === subnet.value;
}

export function overlap(one: Subnet, other: Subnet): boolean {
  return one.bits <= other.bits ? contains(one, other) : contains(other, one);
}

/** The address of that number within the subnet. */
export function addressOf(subnet: Subnet, number: bigint | number): Address {
  return { family: subnet.family, value: subnet.value + BigInt(number) };
}

/** Its number within the subnet, which contains it. */
export function numberOf(subnet: Subnet, address: Address): bigint {
  return address.value - subnet.value;
}

function blockAround({ family, value }: Address, bits: number): Subnet {
  const host = BigInt(width[family] - bits);
  return { family, bits, value: (value >> host) << host };
}
