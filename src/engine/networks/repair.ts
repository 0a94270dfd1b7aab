// What somebody else has flushed out of the packet filter, put back.

import type { ContainerRow } from '../../native.ts';
import { isAlive } from '../containers/reach.ts';
import { reap } from '../containers/reap.ts';
import type { Settings } from '../containers/settings.ts';
import type { Engine } from '../engine.ts';
import { networkVerb } from './verb.ts';
import { leadTo, type PublishedPort } from './publishing.ts';
import { type Bridge, bridgeOf, mainAddresses, placesOf, table } from './wiring.ts';

/** Puts back what running containers need and is missing. True where something was. Nothing runs: nothing is asked. */
export async function repair(engine: Engine): Promise<boolean> {
  const living = livingOnNetworks(engine);
  if (living.length === 0) return false;
  const { bridges, ports } = needed(engine, living);
  const { made } = (await networkVerb(engine, 'repair', { bridges: [...bridges.values()], ports })) as {
    made: boolean;
  };
  if (made)
    for (const row of living)
      if (hasEnded(engine, row)) await reap(undefined, [], { runRoot: engine.runRoot, table, container: row.id });
  return made;
}

/** Containers that live and are on networks of the engine. */
export function livingOnNetworks({ database }: Engine): ContainerRow[] {
  const living = database.containers({ status: ['starting', 'running', 'paused'] });
  return living.filter(({ document }) => (document as Settings).network === 'bridge');
}

/** What the packet filter has to have for them: networks with bridges by their ids, and ports. */
export function needed(
  engine: Engine,
  living: readonly ContainerRow[],
): { bridges: Map<string, Bridge>; ports: (PublishedPort & { container: string })[] } {
  const bridges = new Map<string, Bridge>();
  const ports = living.flatMap(({ id }) => {
    const places = placesOf(engine, id);
    for (const { row } of places) if (row.driver === 'bridge') bridges.set(row.id, bridgeOf(row));
    return leadTo(engine.database.ports(id), mainAddresses(places)).map((port) => ({ container: id, ...port }));
  });
  return { bridges, ports };
}

/** Whose ports have been put back after it had taken them away itself. */
function hasEnded({ database }: Engine, { id }: ContainerRow): boolean {
  return !database.containers().some((row) => row.id === id && isAlive(row));
}
