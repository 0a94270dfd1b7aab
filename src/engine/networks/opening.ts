// Ports opened and closed, while their container runs or not; kept in its settings, so that every start opens them.

import type { PortRow } from '../../native.ts';
import type { Settings } from '../containers/settings.ts';
import type { Engine } from '../engine.ts';
import { ConflictError, NotFoundError } from '../errors.ts';
import { portWarnings } from './exposure.ts';
import { exclusively } from './membership.ts';
import { parsePublish, type PortMapping } from './ports.ts';
import { mappingsOf, portsOf } from './publishing.ts';
import { placesOf, usualAddress } from './wiring.ts';

export interface PublishOptions {
  /** Told when a port opens to the whole network for the first time. */
  onWarning?: (message: string) => void;
}

/** PORT_INVALID, PORT_IN_USE, PORTS_CONFLICT. None is open where one fails. */
export async function publish(
  engine: Engine,
  container: string,
  given: readonly (string | PortMapping)[],
  { onWarning }: PublishOptions,
): Promise<void> {
  const mappings = understood(given);
  await exclusively(engine, container, async (row, rewire) => {
    const settings = row.document as Settings;
    const places = placesOf(engine, row.id);
    if (places.length === 0) {
      throw new ConflictError('PORTS_CONFLICT', `container ${row.name} is on no network of its own`, {
        hint: 'first kapsel network connect NETWORK CONTAINER',
      });
    }
    const changed: Settings = { ...settings, ports: [...settings.ports, ...mappings] };
    const before = engine.database.ports(row.id);
    try {
      await rewire(changed);
    } catch (error) {
      const added = engine.database.ports(row.id).filter((port) => !before.some((had) => isSame(had, port)));
      engine.database.releasePorts(row.id, added);
      throw error;
    }
    engine.database.updateDocument(row.id, changed);
    for (const warning of portWarnings(engine, changed, () => places.map((place) => place.row))) onWarning?.(warning);
  });
}

/** `[[ADDRESS:]HOST_PORT:]PORT[/PROTOCOL]`: what is left out may be any. PORT_NOT_FOUND. */
export async function unpublish(
  engine: Engine,
  container: string,
  given: readonly (string | PortMapping)[],
): Promise<void> {
  const asked = understood(given);
  await exclusively(engine, container, async (row, rewire) => {
    const settings = row.document as Settings;
    const rows = engine.database.ports(row.id);
    const usual = usualAddress(engine, placesOf(engine, row.id));
    const closed = rows.filter((port) => asked.some((each) => isMeant(each, port)));
    const isClosed = (mapping: PortMapping) => {
      const its = portsOf(mapping, rows, usual);
      if (its.length > 0) return its.some((port) => closed.includes(port));
      const { hostAddress = usual ?? '', hostPort: port } = mapping;
      return asked.some((each) => isMeant(each, { ...mapping, address: hostAddress, port }));
    };
    const mappings = mappingsOf(settings);
    const kept = mappings.filter((mapping) => !isClosed(mapping));
    if (closed.length === 0 && kept.length === mappings.length) {
      const [{ containerPort, protocol }] = asked as [PortMapping];
      throw new NotFoundError(
        'PORT_NOT_FOUND',
        `No public port '${containerPort}/${protocol}' published for ${row.name}`,
      );
    }
    const changed: Settings = { ...settings, ports: kept, publishAll: false };
    await rewire(changed);
    engine.database.updateDocument(row.id, changed);
    engine.database.releasePorts(row.id, closed);
  });
}

function understood(given: readonly (string | PortMapping)[]): PortMapping[] {
  return given.flatMap((each) => (typeof each === 'string' ? parsePublish(each) : [each]));
}

function isMeant(asked: PortMapping, port: PortRow): boolean {
  const { protocol, containerPort, hostPort, hostAddress } = asked;
  return (
    port.protocol === protocol &&
    port.containerPort === containerPort &&
    (hostPort === 0 || port.port === hostPort) &&
    (hostAddress === undefined || port.address === hostAddress)
  );
}

function isSame(one: PortRow, other: PortRow): boolean {
  return one.protocol === other.protocol && one.address === other.address && one.port === other.port;
}
