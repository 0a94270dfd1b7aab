// What somebody else has flushed out of the packet filter, put back.

import { close, type ContainerRow } from '../../native.ts';
import { isAlive } from '../containers/reach.ts';
import { reap } from '../containers/reap.ts';
import type { Settings } from '../containers/settings.ts';
import type { Engine } from '../engine.ts';
import { lockNetworks } from './lock.ts';
import { networkVerb } from './verb.ts';
import { leadTo, type PublishedPort } from './publishing.ts';
import { type Bridge, bridgeOf, placesOf, publishedAddresses, table } from './wiring.ts';

/** A container whose networks the caller has locked. */
export interface Locked {
  id: string;
  lock: number;
}

/**
 * Puts back what running containers need and is missing. True where something was. Nothing runs: nothing is asked.
 * A port that somebody is just closing must not come back: ports are those of containers whose networks are locked, by the
 * verb too. Who else has locked one's repairs them himself.
 */
export async function repair(engine: Engine, own?: Locked): Promise<boolean> {
  const living = livingOnNetworks(engine);
  if (living.length === 0) return false;
  const locks = new Map<string, number>();
  let made: boolean;
  try {
    for (const { id } of living) {
      const lock = id === own?.id ? own.lock : lockOf(engine, id);
      if (lock !== undefined) locks.set(id, lock);
    }
    const { bridges, ports } = needed(engine, living);
    const ours = ports.filter(({ container }) => locks.has(container));
    const details = { bridges: [...bridges.values()], ports: ours };
    ({ made } = (await networkVerb(engine, 'repair', details, [...locks.values()])) as { made: boolean });
  } finally {
    for (const lock of locks.values()) if (lock !== own?.lock) close(lock);
  }
  if (made)
    for (const row of living)
      if (hasEnded(engine, row)) await reap(undefined, [], { runRoot: engine.runRoot, table, container: row.id });
  return made;
}

function lockOf(engine: Engine, id: string): number | undefined {
  try {
    return lockNetworks(engine, id);
  } catch {
    // It has ended meanwhile, and needs nothing.
    return undefined;
  }
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
    return leadTo(engine.database.ports(id), publishedAddresses(places)).map((port) => ({ container: id, ...port }));
  });
  return { bridges, ports };
}

/** Whose ports have been put back after it had taken them away itself. */
function hasEnded({ database }: Engine, { id }: ContainerRow): boolean {
  return !database.containers().some((row) => row.id === id && isAlive(row));
}
