// What somebody else has flushed out of the packet filter, put back.

import type { ContainerRow } from '../../native.ts';
import { isAlive } from '../containers/reach.ts';
import { reap } from '../containers/reap.ts';
import type { Settings } from '../containers/settings.ts';
import type { Engine } from '../engine.ts';
import { run } from '../images/worker.ts';
import { leadTo } from './publishing.ts';
import { bridgeOf, mainAddresses, placesOf, table } from './wiring.ts';

/** Puts back what running containers need and is missing. True where something was. Nothing runs: nothing is asked. */
export async function repair(engine: Engine): Promise<boolean> {
  const { database } = engine;
  const living = database
    .containers({ status: ['starting', 'running', 'paused'] })
    .filter(({ document }) => (document as Settings).network === 'bridge');
  if (living.length === 0) return false;
  const bridges = new Map<string, object>();
  const ports = living.flatMap(({ id }) => {
    const places = placesOf(engine, id);
    for (const { row } of places) if (row.driver === 'bridge') bridges.set(row.id, bridgeOf(row));
    return leadTo(database.ports(id), mainAddresses(places)).map((port) => ({ container: id, ...port }));
  });
  const document = { action: 'repair', table, bridges: [...bridges.values()], ports };
  const { made } = JSON.parse(await run(['network'], { document })) as { made: boolean };
  if (made)
    for (const row of living) if (hasEnded(engine, row)) await reap(undefined, [], { table, container: row.id });
  return made;
}

/** Whose ports have been put back after it had taken them away itself. */
function hasEnded({ database }: Engine, { id }: ContainerRow): boolean {
  return !database.containers().some((row) => row.id === id && isAlive(row));
}
