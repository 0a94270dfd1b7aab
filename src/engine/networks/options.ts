// What a network is made of, as asked for and as kept. Docker's words.

import { InvalidArgumentError } from '../errors.ts';
import { parseAddress } from './addresses.ts';
import { parseRate, rateHelp } from './rate.ts';
import type { NetworkSubnet, SubnetOptions } from './subnets.ts';

export type NetworkDriver = 'bridge' | 'macvlan';

export interface NetworkOptions {
  /** `bridge` unless told. */
  driver?: NetworkDriver | string | undefined;
  /** Free ones where left out: of IPv4 unless `ipv4` is false, and of IPv6 where `ipv6`. */
  subnets?: readonly SubnetOptions[] | undefined;
  ipv4?: boolean | undefined;
  ipv6?: boolean | undefined;
  /** Nothing but its own containers is reachable. */
  internal?: boolean | undefined;
  /** Name of the host's interface. */
  interface?: string | undefined;
  /** The driver's: `mtu`, `rate` (bridge), `isolate`, `parent` and `mode` (macvlan), and Docker's `com.docker.network.…`. */
  options?: Readonly<Record<string, string>> | undefined;
  labels?: Readonly<Record<string, string>> | undefined;
}

/** As it is kept in the database. */
export interface NetworkDocument {
  subnets: NetworkSubnet[];
  ipv6: boolean;
  internal: boolean;
  /** As given. */
  options: Record<string, string>;
  /** Bytes; the kernel's own where left out. */
  mtu?: number;
  /** What each container may send, and receive, in a second: bytes. */
  rate?: number;
  /** Other networks' containers do not reach this one's; false: those of networks that are not isolated do. */
  isolate: boolean;
  /** Its containers reach each other. */
  communication: boolean;
  /** What leaves has the machine's address. */
  masquerade: boolean;
  /** The host's address for ports published without one. */
  hostAddress?: string;
  /** What the names of its interfaces in containers begin with; `eth` where left out. */
  prefix?: string;
  /** macvlan: the host's interface it is of, and how its containers see each other. */
  parent?: string;
  mode?: MacvlanMode;
}

const modes = ['bridge', 'private', 'vepa', 'passthru'] as const;
export type MacvlanMode = (typeof modes)[number];

/** Docker's names for what has a shorter one here. */
const aliases: Record<string, string> = {
  'com.docker.network.driver.mtu': 'mtu',
  'com.docker.network.bridge.name': 'interface',
  'com.docker.network.bridge.enable_icc': 'icc',
  'com.docker.network.bridge.enable_ip_masquerade': 'masquerade',
  'com.docker.network.bridge.host_binding_ipv4': 'host-address',
  'com.docker.network.container_iface_prefix': 'prefix',
  interface_name: 'interface',
  macvlan_mode: 'mode',
};

const ofDriver: Record<NetworkDriver, ReadonlySet<string>> = {
  bridge: new Set(['mtu', 'interface', 'icc', 'masquerade', 'host-address', 'isolate', 'prefix', 'rate']),
  macvlan: new Set(['mtu', 'parent', 'mode', 'prefix']),
};

/** The driver's options, understood; those it does not have are refused. */
export function understand(
  driver: NetworkDriver,
  options: Readonly<Record<string, string>>,
): Pick<
  NetworkDocument,
  'mtu' | 'isolate' | 'communication' | 'masquerade' | 'hostAddress' | 'prefix' | 'parent' | 'mode' | 'rate'
> & {
  interface?: string;
} {
  const known = new Map<string, string>();
  for (const [given, value] of Object.entries(options)) {
    const name = aliases[given] ?? given;
    if (!ofDriver[driver].has(name)) throw invalid(`unknown option ${given} of a ${driver} network`);
    known.set(name, value);
  }
  const yes = (name: string, usual: boolean): boolean => {
    const value = known.get(name);
    if (value === undefined) return usual;
    if (!/^(true|false|1|0)$/i.test(value)) throw invalid(`invalid ${name} '${value}': give true or false`);
    return /^(true|1)$/i.test(value);
  };
  const mtu = known.get('mtu');
  if (mtu !== undefined && (!/^\d{2,5}$/.test(mtu) || Number(mtu) < 68 || Number(mtu) > 65535)) {
    throw invalid(`invalid mtu '${mtu}': give a number of bytes from 68 to 65535`);
  }
  const mode = known.get('mode');
  if (mode !== undefined && !(modes as readonly string[]).includes(mode)) {
    throw invalid(`invalid mode '${mode}': give one of ${modes.join(', ')}`);
  }
  const name = known.get('interface');
  const address = known.get('host-address');
  if (address !== undefined && !parseAddress(address))
    throw invalid(`invalid host-address '${address}': it is no IP address`);
  const prefix = known.get('prefix');
  const parent = known.get('parent');
  if (driver === 'macvlan' && parent === undefined) {
    throw invalid('a macvlan network needs an interface of this machine: give -o parent=NAME');
  }
  const rate = known.get('rate');
  const bytes = parseRate(rate ?? '');
  if (rate !== undefined && bytes === undefined) throw invalid(`invalid rate '${rate}': ${rateHelp}`);
  return {
    ...(mtu !== undefined && { mtu: Number(mtu) }),
    isolate: yes('isolate', true),
    communication: yes('icc', true),
    masquerade: yes('masquerade', true),
    ...(address !== undefined && { hostAddress: address }),
    ...(prefix !== undefined && { prefix: interfaceName(`${prefix}0`).slice(0, -1) }),
    ...(parent !== undefined && { parent: interfaceName(parent) }),
    ...(mode !== undefined && { mode: mode as MacvlanMode }),
    ...(bytes !== undefined && { rate: bytes }),
    ...(name !== undefined && { interface: interfaceName(name) }),
  };
}

/** A name that the kernel takes for an interface: at most 15 bytes, no slash, no white space. */
export function interfaceName(name: string): string {
  if (/^[^\s/:]{1,15}$/.test(name) && name !== '.' && name !== '..') return name;
  throw invalid(`invalid interface name '${name}': 1 to 15 characters without '/', ':' and spaces`);
}

function invalid(message: string): InvalidArgumentError {
  return new InvalidArgumentError('NETWORK_OPTION_INVALID', message, { exitCode: 1 });
}
