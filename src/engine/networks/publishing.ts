// Ports of the host for one life of a container: which it gets, and where in it they lead.

import type { PortRow } from '../../native.ts';
import type { Settings } from '../containers/settings.ts';
import type { Engine } from '../engine.ts';
import { KapselError } from '../errors.ts';
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

/**
 * Takes the ports of the host that are asked for; those that the container has already, it keeps. `usual`: the host's
 * address of those that name none. PORT_IN_USE.
 */
export function publish(
  engine: Engine,
  id: string,
  mappings: readonly PortMapping[],
  usual: string | undefined,
): PortRow[] {
  if (mappings.length === 0) return [];
  const had = engine.database.ports(id);
  // Those that name a port come first: another must not keep theirs.
  const byName = mappings.toSorted((one, other) => Number(one.hostPort === 0) - Number(other.hostPort === 0));
  return byName.flatMap((mapping) => {
    const kept = portsOf(mapping, had, usual);
    for (const row of kept) had.splice(had.indexOf(row), 1);
    return kept.length > 0 ? kept : take(engine, id, mapping, usual);
  });
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

/** A port of the host: the one asked for, or the first that is free. */
function take(engine: Engine, id: string, mapping: PortMapping, usual: string | undefined): PortRow[] {
  const { protocol, hostPort, hostPortEnd = hostPort, containerPort } = mapping;
  const begin = Math.floor(Math.random() * ephemeral.count);
  const candidates =
    hostPort === 0
      ? Array.from({ length: ephemeral.count }, (_, at) => ephemeral.first + ((begin + at) % ephemeral.count))
      : Array.from({ length: hostPortEnd - hostPort + 1 }, (_, at) => hostPort + at);
  for (const [at, port] of candidates.entries()) {
    const rows = addressesOf(mapping, usual).map((address) => ({ protocol, address, port, containerPort }));
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
