// What is asked of an engine as a whole: what it takes of the disk, what of that nobody needs, and whether it is sound.
// The work is in system/, loaded when it is asked for.

import type { Engine } from './engine.ts';
import type { CheckOptions, CheckReport, DiskUsage, Pruned, PruneOptions } from './system/types.ts';

export type * from './system/types.ts';

export class System {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** What everything takes, and what of it a prune would free, to the byte. */
  async df(): Promise<DiskUsage> {
    const { diskUsage } = await import('./system/usage.ts');
    return await diskUsage(this.#engine);
  }

  /** Removes what is asked for as far as nobody needs it: by default containers that do not run, networks, and images without a name. */
  async prune(options: PruneOptions = {}): Promise<Pruned> {
    const { prune } = await import('./system/prune.ts');
    return await prune(this.#engine, options);
  }

  /** Reads everything that has a digest again. */
  async check(options: CheckOptions = {}): Promise<CheckReport> {
    const { check } = await import('./system/check.ts');
    return await check(this.#engine, options);
  }
}
