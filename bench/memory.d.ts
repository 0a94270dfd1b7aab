import type { Engine } from '../src/index.ts';
/** Resident and private memory, in megabytes (10^6 bytes), of the monitor of a container that sleeps. */
export declare function monitorMemory(engine: Engine): Promise<{
  rss: number;
  private: number;
}>;
