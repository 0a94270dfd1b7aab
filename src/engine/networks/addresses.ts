// Arithmetic of IP addresses and subnets. An address is a number of its family; nothing here asks the network.

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

const octetPattern = '(25[0-5]|2[0-4]\\d|1\\d\\d|[1-9]?\\d)';
const dotted = new RegExp(`^${Array(4).fill(octetPattern).join('\\.')}$`);

/** Undefined where the text is no address. Zones (`%eth0`) are none. */
export function parseAddress(text: string): Address | undefined {
  const octets = dotted.exec(text);
  if (octets) return { family: 4, value: octets.slice(1).reduce((value, octet) => (value << 8n) | BigInt(octet), 0n) };
  return text.includes(':') ? parseIPv6(text) : undefined;
}

function parseIPv6(text: string): Address | undefined {
  // An IPv4 address may be its end.
  const tail = parseAddress(text.slice(text.lastIndexOf(':') + 1));
  const end = tail === undefined ? '' : `${(tail.value >> 16n).toString(16)}:${(tail.value & 0xffffn).toString(16)}`;
  const plain = tail === undefined ? text : `${text.slice(0, text.lastIndexOf(':') + 1)}${end}`;
  const [left = '', right, ...more] = plain.split('::');
  const groups = (part: string) => (part === '' ? [] : part.split(':'));
  const [before, after] = [groups(left), groups(right ?? '')];
  const missing = 8 - before.length - after.length;
  const isWhole = right === undefined ? missing === 0 : missing >= 1;
  const all = [...before, ...Array<string>(Math.max(missing, 0)).fill('0'), ...after];
  if (more.length > 0 || !isWhole || !all.every((group) => /^[\da-f]{1,4}$/i.test(group))) return undefined;
  return { family: 6, value: BigInt(`0x${all.map((group) => group.padStart(4, '0')).join('')}`) };
}

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

/** Blocks of late: a network's own are asked for at every start. */
const blocks = new Map<string, Subnet | undefined>();
const mostBlocks = 64;

/** Undefined where the text is no block; bits beyond the prefix are cleared. */
export function parseSubnet(text: string): Subnet | undefined {
  if (!blocks.has(text)) {
    if (blocks.size === mostBlocks) blocks.clear();
    blocks.set(text, understand(text));
  }
  return blocks.get(text);
}

function understand(text: string): Subnet | undefined {
  const [, address = '', length = ''] = /^([^/]+)\/(\d{1,3})$/.exec(text) ?? [];
  const parsed = parseAddress(address);
  const bits = Number(length);
  if (!parsed || bits > width[parsed.family]) return undefined;
  return blockAround(parsed, bits);
}

export function formatSubnet(subnet: Subnet): string {
  return `${formatAddress(subnet)}/${subnet.bits}`;
}

/** `10.1.0.2/24` without its prefix's length. */
export function withoutBits(address: string): string {
  return address.split('/', 1)[0] as string;
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
