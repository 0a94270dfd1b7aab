// What the kernel and the run directory still have of a network whose row has gone.

import { rmSync } from 'node:fs';
import type { NetworkRow } from '../../native.ts';
import type { Engine } from '../engine.ts';
import { run } from '../images/worker.ts';
import { table } from './wiring.ts';

/** Its bridge goes, and what the packet filter knows of it. Nothing there is no error. */
export async function removeRemains(engine: Engine, { id, interface: bridge }: NetworkRow): Promise<void> {
  if (bridge !== null) await run(['network'], { document: { action: 'remove', table, bridge } });
  rmSync(`${engine.runRoot}/networks/${id}`, { recursive: true, force: true });
}
