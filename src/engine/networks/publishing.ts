// Ports of the host for one life of a container: which it gets, and where in it they lead.

import type { PortRow, PortWanted } from '../../native.ts';
import type { Settings } from '../containers/settings.ts';
import type { Engine } from '../engine.ts';
import { withoutBits } from './addresses.ts';
import type { PortMapping } from './ports.ts';

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

/** Where the kernel takes ports from that nobody names (ip_local_port_range, usually). */
const ephemeral = { first: 32768, count: 28232 };

/** Every address of the host, of either family. */
const every = ['0.0.0.0', '::'];

/** What a container's settings ask for: `-p`, and with `-P` every port that it exposes. */
export function mappingsOf({ ports, publishAll, exposedPorts }: Settings): readonly PortMapping[] {
  return publishAll ? [...ports, ...exposedPorts.map(mappingOf)] : ports;
}

/** Of the ports that are asked for, those that the container has already, and what it wants beside them. */
export interface Publishing {
  kept: PortRow[];
  wanted: PortWanted[];
}

/** `usual`: the host's address of those that name none. */
export function publishing(
  engine: Engine,
  id: string,
  mappings: readonly PortMapping[],
  usual: string | undefined,
): Publishing {
  const found: Publishing = { kept: [], wanted: [] };
  if (mappings.length === 0) return found;
  const had = engine.database.ports(id);
  // Those that name a port come first: another must not keep theirs.
  const byName = mappings.toSorted((one, other) => Number(one.hostPort === 0) - Number(other.hostPort === 0));
  for (const mapping of byName) {
    const kept = portsOf(mapping, had, usual);
    for (const row of kept) had.splice(had.indexOf(row), 1);
    if (kept.length > 0) found.kept.push(...kept);
    else found.wanted.push(wantedBy(mapping, usual));
  }
  return found;
}

/** Those of a container's ports that are one mapping's. */
export function portsOf(mapping: PortMapping, rows: readonly PortRow[], usual: string | undefined): PortRow[] {
  const { protocol, hostPort, hostPortEnd = hostPort, containerPort } = mapping;
  const addresses = addressesOf(mapping, usual);
  const ours = rows.filter(
    (row) =>
      row.protocol === protocol &&
      row.containerPort === containerPort &&
      addresses.includes(row.address) &&
      (hostPort === 0 || (row.port >= hostPort && row.port <= hostPortEnd)),
  );
  return ours.filter(({ port }) => port === ours[0]?.port);
}

function addressesOf({ hostAddress }: PortMapping, usual: string | undefined): readonly string[] {
  const address = hostAddress ?? usual;
  return address === undefined ? every : [address];
}

function wantedBy(mapping: PortMapping, usual: string | undefined): PortWanted {
  const { protocol, hostPort, hostPortEnd = hostPort, containerPort } = mapping;
  const shared = { protocol, addresses: addressesOf(mapping, usual), containerPort };
  if (hostPort !== 0) return { ...shared, first: hostPort, last: hostPortEnd, begin: hostPort };
  const { first, count } = ephemeral;
  // Not always the same: another program may have it, which only shows when it is opened.
  return { ...shared, first, last: first + count - 1, begin: first + Math.floor(Math.random() * count) };
}

/**
 * Each port with the container's address of its own family. Of a family that it lacks there is none, but that one may
 * be `relayed` to an address of the other. `addresses`: with their bits.
 */
export function leadTo(ports: readonly PortRow[], addresses: readonly string[] = [], relayed = false): PublishedPort[] {
  const own = addresses.map(withoutBits);
  return ports.flatMap(({ protocol, address: host, port, containerPort }) => {
    const isIPv6 = host.includes(':');
    const address = own.find((each) => each.includes(':') === isIPv6) ?? (relayed ? own[0] : undefined);
    if (address === undefined) return [];
    const isPlain = every.includes(host) && address.includes(':') === isIPv6;
    return [{ protocol, ...(isPlain ? {} : { hostAddress: host }), hostPort: port, address, containerPort }];
  });
}

function mappingOf(exposed: string): PortMapping {
  const [port, protocol] = exposed.split('/') as [string, PortMapping['protocol']];
  return { protocol, containerPort: Number(port), hostPort: 0 };
}
