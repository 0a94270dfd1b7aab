// What the kernel and the run directory still have of a network whose row has gone.

import { rmSync } from 'node:fs';
import type { NetworkRow } from '../../native.ts';
import type { Engine } from '../engine.ts';
import { networkVerb } from './verb.ts';

/** Its bridge goes, and what the packet filter knows of it. Nothing there is no error. */
export async function removeRemains(engine: Engine, { id, interface: bridge }: NetworkRow): Promise<void> {
  if (bridge !== null) await networkVerb(engine, 'remove', { bridge });
  rmSync(`${engine.runRoot}/networks/${id}`, { recursive: true, force: true });
}
