// A container's place on its networks, for the time of one life: addresses and ports are leased, and everything that the
// monitor has to make of it is written down. Leases end with the life, by the database.

import { readFileSync } from 'node:fs';
import type { AddressWanted, NetworkRow } from '../../native.ts';
import type { NetworkRequest } from '../containers/options.ts';
import type { EgressSettings } from '../containers/networking.ts';
import { isRootless } from '../containers/ground.ts';
import type { Settings } from '../containers/settings.ts';
import type { Engine } from '../engine.ts';
import { ConflictError, InvalidArgumentError } from '../errors.ts';
import { randomHex } from '../random.ts';
import { type Address, contains, numberOf, parseAddress, parseSubnet, type Subnet, withoutBits } from './addresses.ts';
import { freeInterface } from './endpoints.ts';
import type { NetworkDocument } from './options.ts';
import { leadTo, mappingsOf, publishing, type PublishedPort } from './publishing.ts';
import { parseRate } from './rate.ts';
import { addressIn, hasFamily, leasable, type NetworkSubnet } from './subnets.ts';

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
    names: { records: string[]; /** `ADDRESS:PORT` */ upstreams: string[]; aside: boolean };
    egress?: Egress;
    /** Held for it: those above, and those of a family that the container lacks, which lead to the other. */
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

/** A container on a network. */
export interface Place {
  row: NetworkRow;
  document: NetworkDocument;
  request: NetworkRequest;
  /** Which of its subnets → the number of its address in it. */
  leases: Record<string, number>;
}

/** A container, as others on its networks know it. */
interface Named {
  id: string;
  name: string;
  /** Where its monitor has waited for it: what is ready there. */
  spare?: { cable?: Cable | undefined } | undefined;
}

/** A pair of links that no container has yet, as crates/network takes it (description.rs, `Cable`). */
export interface Cable {
  /** The id of the network. */
  network: string;
  bridge: Bridge;
  peer: string;
  name: string;
  mtu?: number;
}

/**
 * Leases what the container wants and has not yet, and writes down all that it has; a start that fails is a life that has
 * ended, and gives it back. `without`: a network that it is about to leave. ADDRESS_IN_USE, NETWORK_FULL, PORT_IN_USE,
 * ADDRESS_INVALID.
 */
export function wire(engine: Engine, { id, name, spare }: Named, settings: Settings, without?: string): Wiring {
  const places = placesOf(engine, id).filter(({ row }) => row.id !== without);
  const main = leadingOut(places);
  const door = places.findIndex(({ row }) => hasDoor(row));
  const mappings = door < 0 ? [] : mappingsOf(settings);
  const { kept, wanted } = publishing(engine, id, mappings, usualAddress(engine, places));
  for (const place of places) checkFamilies(place);
  const missing = places.flatMap((place) =>
    subnetsOf(place)
      .filter((at) => !(at in place.leases))
      .map((at) => want(place, at)),
  );
  const leased = engine.database.lease(id, missing, wanted);
  const published = [...kept, ...leased.ports];
  const interfaces = places.map((place, at) => {
    const numbers = subnetsOf(place).map((subnet) => place.leases[subnet] ?? (leased.addresses.shift() as number));
    return interfaceOf(place, at === main, numbers, spare?.cable);
  });
  const own = [name, id.slice(0, 12), settings.hostname];
  const names = places.map(({ row, request }, at) => ({
    directory: namesDirectory(engine, row.id),
    addresses: (interfaces[at] as Wire).addresses.map(withoutBits),
    names: [...new Set([...own, ...(request.aliases ?? [])])],
  }));
  const isInternal = places.every(({ document }) => document.internal);
  const addresses = interfaces[door]?.addresses;
  return {
    table,
    interfaces,
    ports: leadTo(published, addresses),
    services: {
      names: {
        records: names.map(({ directory }) => directory),
        upstreams: isInternal ? [] : upstreams(settings.dns.servers),
        aside: servesNames(settings),
      },
      ...(settings.egress && { egress: guard(id, settings.egress, interfaces) }),
      ports: leadTo(published, addresses, true),
    },
    names,
  };
}

/** A container's networks, in the order in which it has come to them. */
export function placesOf({ database, networks }: Engine, id: string): Place[] {
  return database.endpointsOfContainer(id).map((endpoint) => {
    const row = networks.ofEndpoint(endpoint);
    return {
      row,
      document: row.document as NetworkDocument,
      request: endpoint.document as NetworkRequest,
      leases: endpoint.leases,
    };
  });
}

/** The host's address for ports that name none; undefined: every one. */
export function usualAddress({ publishDefault }: Engine, places: readonly Place[]): string | undefined {
  return places.find(({ row }) => hasDoor(row))?.document.hostAddress ?? publishDefault;
}

/** The addresses to which a running container's ports lead, with their bits. */
export function publishedAddresses(places: readonly Place[]): string[] {
  const place = places.find(({ row }) => hasDoor(row));
  if (!place) return [];
  return Object.entries(place.leases).map(([at, number]) =>
    addressIn(place.document.subnets[Number(at)] as NetworkSubnet, number),
  );
}

/**
 * Whether a container's ports lead to its address here: the first of its networks that has a door. Behind one of macvlan
 * this machine reaches nobody, and other machines need no port of its; an internal one is for its own.
 */
export function hasDoor({ driver, document }: NetworkRow): boolean {
  return driver === 'bridge' && !(document as NetworkDocument).internal;
}

/** Which of its networks leads to the world: the first that is not internal. */
function leadingOut(places: readonly Place[]): number {
  return Math.max(
    places.findIndex(({ document }) => !document.internal),
    0,
  );
}

/** Whether its own programs are likely to want port 53. */
function servesNames({ exposedPorts, ports }: Settings): boolean {
  return exposedPorts.some((port) => port.startsWith('53/')) || ports.some(({ containerPort }) => containerPort === 53);
}

function subnetsOf({ document }: Place): number[] {
  return [...document.subnets.keys()];
}

function guard(id: string, { allowed, names }: EgressSettings, interfaces: Wire[]): Egress {
  const links = interfaces.map(({ peer, mac, addresses }) => ({ peer, mac, addresses }));
  // Only these names may be asked for, even where they are none: a question is a way out.
  return { table: `kapsel-${id.slice(0, 12)}`, links, allowed: [...allowed], names: [...names] };
}

/** What an interface of the container is like. */
function interfaceOf({ row, document, request }: Place, leadsOut: boolean, numbers: number[], cable?: Cable): Wire {
  const { subnets, internal } = document;
  const rate = request.rate === undefined ? document.rate : parseRate(request.rate);
  if (rate !== undefined && row.driver !== 'bridge') {
    throw new InvalidArgumentError(
      'NETWORK_INVALID',
      `network ${row.name} cannot keep a rate: its driver is ${row.driver}`,
    );
  }
  return {
    name: request.interface,
    mac: macOf(row.id, request, numbers),
    ...mtuOf(document),
    addresses: subnets.map((subnet, which) => addressIn(subnet, numbers[which] as number)),
    gateways: leadsOut && !internal ? subnets.map(({ gateway }) => gateway) : [],
    ...(row.driver === 'macvlan'
      ? { driver: 'macvlan', parent: document.parent, mode: document.mode ?? 'bridge' }
      : {
          driver: 'bridge',
          peer: cable?.network === row.id ? cable.peer : newPeer(),
          bridge: bridgeOf(row),
          ...(rate !== undefined && { rate }),
        }),
  } as Wire;
}

/** For whoever comes next to a network. */
export function cableTo(row: NetworkRow): Cable {
  const mtu = mtuOf(row.document as NetworkDocument);
  return { network: row.id, bridge: bridgeOf(row), peer: newPeer(), name: freeInterface(row, []), ...mtu };
}

/** A new one in every life: the old one is there for some milliseconds more. */
function newPeer(): string {
  return `kv${randomHex(7).slice(1)}`;
}

/** What leads out of an ordinary user's networks takes long packets cheaply and short ones dearly; otherwise it is the kernel's. */
function mtuOf({ mtu = isRootless() ? 65_520 : undefined }: NetworkDocument): { mtu?: number } {
  return mtu === undefined ? {} : { mtu };
}

/** A network's bridge, as crates/network takes it (description.rs). */
export interface Bridge {
  name: string;
  subnets: string[];
  internal: boolean;
  [more: string]: unknown;
}

export function bridgeOf(row: NetworkRow): Bridge {
  const document = row.document as NetworkDocument;
  const { subnets, internal } = document;
  return {
    name: row.interface as string,
    mac: hardware(row.id, 0),
    ...mtuOf(document),
    addresses: subnets.map(({ subnet, gateway }) => `${gateway}/${(parseSubnet(subnet) as Subnet).bits}`),
    subnets: subnets.map(({ subnet }) => subnet),
    masquerade: document.masquerade && !internal,
    internal,
    communication: document.communication,
    open: !document.isolate,
  };
}

/** What is asked of one subnet. ADDRESS_INVALID, ADDRESS_IN_USE. */
export function want(
  { row, document, request }: Pick<Place, 'row' | 'document' | 'request'>,
  subnet: number,
): AddressWanted {
  const block = document.subnets[subnet] as NetworkSubnet;
  const { family } = parseSubnet(block.subnet) as Subnet;
  const asked = family === 4 ? request.ip : request.ip6;
  const exactly = asked === undefined ? undefined : exactNumber(row.name, block, asked);
  return { networkId: row.id, subnet, ...leasable(block), ...(exactly !== undefined && { exactly }) };
}

/** ADDRESS_INVALID where an address is asked for of a family that the network has not. */
export function checkFamilies({ row, document, request }: Pick<Place, 'row' | 'document' | 'request'>): void {
  for (const [family, asked] of [
    [4, request.ip],
    [6, request.ip6],
  ] as const) {
    if (asked === undefined || hasFamily(document.subnets, family)) continue;
    throw new InvalidArgumentError(
      'ADDRESS_INVALID',
      `invalid address ${asked}: network ${row.name} has no IPv${family}`,
    );
  }
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

/**
 * The hardware address that goes with a container's addresses: whoever has them next has it too, so that neighbours need not
 * learn anything anew.
 */
export function macOf(networkId: string, { macAddress }: NetworkRequest, numbers: readonly number[]): string {
  return macAddress ?? hardware(networkId, numbers[0] ?? 0);
}

/** Locally administered, of a network's own; number 0 is its bridge's. */
function hardware(networkId: string, number: number): string {
  const value = (BigInt(`0x${networkId.slice(0, 10)}`) + BigInt(number)) & 0xff_ffff_ffffn;
  return `02:${value
    .toString(16)
    .padStart(10, '0')
    .replace(/..(?!$)/g, '$&:')}`;
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
