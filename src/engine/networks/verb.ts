// The executable's verb `network`, and the one table of the packet filter that it keeps.

import type { Engine } from '../engine.ts';
import { run } from '../images/worker.ts';
import { table } from './wiring.ts';

/** Asks it for an action (crates/runtime/src/network.rs); resolves to its answer. `held`: locks that it has until its end. */
export async function networkVerb(
  engine: Engine,
  action: string,
  details: object = {},
  held: readonly number[] = [],
): Promise<unknown> {
  const document = { action, table, runRoot: engine.runRoot, ...details };
  return JSON.parse(await run(['network'], { document, held }));
}
