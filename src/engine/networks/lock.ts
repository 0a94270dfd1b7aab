// The lock of a running container's networks and ports: held by whoever changes them, or puts them back.

import { tryLock } from '../../native.ts';
import { containerPaths } from '../containers/paths.ts';
import type { Engine } from '../engine.ts';

/** A descriptor to close, or nothing where another holds it. An error where the container's life is over. */
export function lockNetworks({ root, runRoot }: Engine, id: string): number | undefined {
  return tryLock(`${containerPaths(root, runRoot, id).runDirectory}/network.lock`);
}
