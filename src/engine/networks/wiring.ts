// A container's place on its networks, for the time of one life: addresses and ports are leased, and everything that the
// monitor has to make of it is written down. Leases end with the life, by the database.

import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import type { AddressWanted, NetworkRow, PortRow } from '../../native.ts';
import type { NetworkRequest } from '../containers/options.ts';
import type { EgressSettings } from '../containers/networking.ts';
import type { Settings } from '../containers/settings.ts';
import type { Engine } from '../engine.ts';
import { ConflictError, InvalidArgumentError, KapselError } from '../errors.ts';
import { type Address, contains, numberOf, parseAddress, parseSubnet, type Subnet, withoutBits } from './addresses.ts';
import type { NetworkDocument } from './options.ts';
import type { PortMapping } from './ports.ts';
import { addressIn, leasable, type NetworkSubnet } from './subnets.ts';

/** A published port, as crates/network takes it (elements.rs, `Port`). */
export interface PublishedPort {
  protocol: 'tcp' | 'udp' | 'sctp';
  /** The host's; every one of the family of `address` where left out. */
  hostAddress?: string;
  hostPort: number;
  /** The container's. */
  address: string;
  containerPort: number;
}

/** By what names others on a network find the container. */
export interface NetworkNames {
  /** RUN_ROOT/networks/ID: a file a container. */
  directory: string;
  addresses: string[];
  names: string[];
}

/** A container on one network, as crates/network takes it (description.rs, `Interface`). */
export interface Wire {
  name: string;
  mac: string;
  mtu?: number;
  addresses: string[];
  gateways: string[];
  driver: 'bridge' | 'macvlan';
  [more: string]: unknown;
}

/** Everything that the monitor makes of a container's networks. */
export interface Wiring {
  /** The packet filter's. */
  table: string;
  interfaces: Wire[];
  ports: PublishedPort[];
  services: {
    names: { records: string[]; /** `ADDRESS:PORT` */ upstreams: string[] };
    egress?: Egress;
    /** Held for it: those above, and those of IPv6 that lead to an address of IPv4. */
    ports: PublishedPort[];
  };
  names: NetworkNames[];
}

/** What it may reach, as crates/network takes it (services.rs). */
interface Egress {
  table: string;
  links: object[];
  allowed: string[];
  names: string[];
}

/** The one table of every engine in a network namespace: what others must not touch, and what they find it by. */
export const table = 'kapsel';

interface Place {
  row: NetworkRow;
  document: NetworkDocument;
  request: NetworkRequest;
}

/** Leases what the container wants; a start that fails is a life that has ended, and gives it back. ADDRESS_IN_USE, NETWORK_FULL, PORT_IN_USE, ADDRESS_INVALID. */
export function wire(engine: Engine, id: string, settings: Settings): Wiring {
  const places = engine.database.endpointsOfContainer(id).map(({ networkId, document }): Place => {
    const row = engine.database.network(networkId);
    return { row, document: row.document as NetworkDocument, request: document as NetworkRequest };
  });
  const wanted = places.flatMap((place) => place.document.subnets.map((_, at) => want(place, at)));
  const mappings = [...settings.ports, ...(settings.publishAll ? settings.exposedPorts.map(mappingOf) : [])];
  const usual = places[0]?.document.hostAddress;
  const published = mappings.flatMap((mapping) => publish(engine, id, mapping, usual));
  const leased = engine.database.lease(id, wanted, []);
  const interfaces = places.map((place, at) => {
    const mine = leased.splice(0, place.document.subnets.length);
    return interfaceOf(place, at, id, mine);
  });
  const { name } = engine.database.container(id);
  const own = [name, id.slice(0, 12), settings.hostname];
  const names = places.map(({ row, request }, at) => ({
    directory: namesDirectory(engine, row.id),
    addresses: (interfaces[at] as Wire).addresses.map(withoutBits),
    names: [...new Set([...own, ...(request.aliases ?? [])])],
  }));
  const isInternal = places.every(({ document }) => document.internal);
  return {
    table,
    interfaces,
    ports: leadTo(published, interfaces[0], false),
    services: {
      names: {
        records: names.map(({ directory }) => directory),
        upstreams: isInternal ? [] : upstreams(settings.dns.servers),
      },
      ...(settings.egress && { egress: guard(id, settings.egress, interfaces) }),
      ports: leadTo(published, interfaces[0], true),
    },
    names,
  };
}

function guard(id: string, { allowed, names }: EgressSettings, interfaces: Wire[]): Egress {
  const links = interfaces.map(({ peer, mac, addresses }) => ({ peer, mac, addresses }));
  // Only these names may be asked for, even where they are none: a question is a way out.
  return { table: `kapsel-${id.slice(0, 12)}`, links, allowed: [...allowed], names: [...names] };
}

/** What an interface of the container is like. The first network leads to the world. */
function interfaceOf({ row, document, request }: Place, at: number, id: string, numbers: number[]): Wire {
  const { subnets, internal, mtu } = document;
  const addresses = subnets.map((subnet, which) => addressIn(subnet, numbers[which] as number));
  return {
    name: request.interface ?? `eth${at}`,
    mac: request.macAddress ?? macOf(`${row.id}${id}`),
    ...(mtu !== undefined && { mtu }),
    addresses,
    gateways: at === 0 && !internal ? subnets.map(({ gateway }) => gateway) : [],
    ...(row.driver === 'macvlan'
      ? { driver: 'macvlan', parent: document.parent, mode: document.mode ?? 'bridge' }
      : { driver: 'bridge', peer: `kv${digest(`${row.id}${id}`).slice(0, 13)}`, bridge: bridgeOf(row, document) }),
  } as Wire;
}

function bridgeOf(row: NetworkRow, { subnets, internal, mtu, ...document }: NetworkDocument): object {
  return {
    name: row.interface,
    mac: macOf(row.id),
    ...(mtu !== undefined && { mtu }),
    addresses: subnets.map(({ subnet, gateway }) => `${gateway}/${(parseSubnet(subnet) as Subnet).bits}`),
    subnets: subnets.map(({ subnet }) => subnet),
    masquerade: document.masquerade && !internal,
    internal,
    communication: document.communication,
    open: !document.isolate,
  };
}

function want({ row, document, request }: Place, subnet: number): AddressWanted {
  const block = document.subnets[subnet] as NetworkSubnet;
  const { family } = parseSubnet(block.subnet) as Subnet;
  const asked = family === 4 ? request.ip : request.ip6;
  const exactly = asked === undefined ? undefined : exactNumber(row.name, block, asked);
  return { networkId: row.id, subnet, ...leasable(block), ...(exactly !== undefined && { exactly }) };
}

function exactNumber(network: string, { subnet, gateway }: NetworkSubnet, asked: string): number {
  const block = parseSubnet(subnet) as Subnet;
  const address = parseAddress(asked) as Address;
  if (!contains(block, address)) {
    throw new InvalidArgumentError(
      'ADDRESS_INVALID',
      `invalid address ${asked}: it does not belong to network ${network}, which has ${subnet}`,
    );
  }
  if (numberOf(block, address) === numberOf(block, parseAddress(gateway) as Address)) {
    throw new ConflictError('ADDRESS_IN_USE', `the address ${asked} is the gateway's of network ${network}`, {
      exitCode: 125,
    });
  }
  return Number(numberOf(block, address));
}

/** Where the kernel takes ports from that nobody names (ip_local_port_range, usually). */
const ephemeral = { first: 32768, count: 28232 };

/** Takes a port of the host: the one asked for, or the first that is free. */
function publish(engine: Engine, id: string, mapping: PortMapping, usual: string | undefined): PortRow[] {
  const { protocol, hostAddress = usual, hostPort, hostPortEnd = hostPort, containerPort } = mapping;
  const addresses = hostAddress === undefined ? every : [hostAddress];
  const begin = Math.floor(Math.random() * ephemeral.count);
  const candidates =
    hostPort === 0
      ? Array.from({ length: ephemeral.count }, (_, at) => ephemeral.first + ((begin + at) % ephemeral.count))
      : Array.from({ length: hostPortEnd - hostPort + 1 }, (_, at) => hostPort + at);
  for (const [at, port] of candidates.entries()) {
    const rows = addresses.map((address) => ({ protocol, address, port, containerPort }));
    try {
      engine.database.lease(id, [], rows);
      return rows;
    } catch (error) {
      const isTaken = error instanceof KapselError && error.code === 'PORT_IN_USE';
      if (!isTaken || at === candidates.length - 1) throw error;
    }
  }
  return [];
}

/** Every address of the host, of either family. */
const every = ['0.0.0.0', '::'];

/**
 * Each port with the address of its own family on the container's first network. Of a family that it lacks there is none,
 * but that a port of IPv6 may be `relayed` to an address of IPv4.
 */
function leadTo(ports: readonly PortRow[], first: Wire | undefined, relayed: boolean): PublishedPort[] {
  const own = (first?.addresses ?? []).map(withoutBits);
  return ports.flatMap(({ protocol, address: host, port, containerPort }) => {
    const isIPv6 = host.includes(':');
    const address = own.find((each) => each.includes(':') === isIPv6) ?? (relayed && isIPv6 ? own[0] : undefined);
    if (address === undefined) return [];
    const isPlain = every.includes(host) && address.includes(':') === isIPv6;
    return [{ protocol, ...(isPlain ? {} : { hostAddress: host }), hostPort: port, address, containerPort }];
  });
}

/** The servers asked for, or the host's own. */
function upstreams(asked: readonly string[]): string[] {
  const servers = asked.length > 0 ? asked : hostServers();
  return servers.map((server) => (server.includes(':') ? `[${server}]:53` : `${server}:53`));
}

function hostServers(): string[] {
  try {
    const lines = readFileSync('/etc/resolv.conf', 'utf8').split('\n');
    return lines.flatMap((line) => /^nameserver\s+([\d.]+|[\da-fA-F:]+)\s*$/.exec(line)?.[1] ?? []).slice(0, 3);
  } catch {
    return [];
  }
}

function mappingOf(exposed: string): PortMapping {
  const [port, protocol] = exposed.split('/') as [string, PortMapping['protocol']];
  return { protocol, containerPort: Number(port), hostPort: 0 };
}

/** The same in every life, so that neighbours need not learn it anew; locally administered. */
export function macOf(seed: string): string {
  return `02:${digest(seed)
    .slice(0, 10)
    .replace(/..(?!$)/g, '$&:')}`;
}

function digest(seed: string): string {
  return createHash('sha256').update(seed).digest('hex');
}

/** The network namespace that a container is to share: another container's, or one by its path. */
export function sharedNamespace(engine: Engine, { network }: Settings): string | undefined {
  if (network.startsWith('ns:')) return network.slice('ns:'.length);
  if (!network.startsWith('container:')) return undefined;
  const other = engine.database.container(network.slice('container:'.length));
  if (other.pid === null) {
    const message = `cannot join network of a non running container: ${other.id}`;
    throw new ConflictError('CONTAINER_NOT_RUNNING', message, { exitCode: 125, hint: `start ${other.name} first` });
  }
  return `/proc/${other.pid}/ns/net`;
}

/** Where a network's names are: a file a container. */
function namesDirectory(engine: Engine, networkId: string): string {
  return `${engine.runRoot}/networks/${networkId}/names`;
}

export function nameFile(engine: Engine, networkId: string, containerId: string): string {
  return `${namesDirectory(engine, networkId)}/${containerId}`;
}
