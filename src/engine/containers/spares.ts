// Monitors that wait for containers, each with what can be made before anybody knows which container it will be
// (ARCHITECTURE.md, "Life of a container, and crashes"). For programs that run many; a command runs one.

import { readFileSync, renameSync } from 'node:fs';

import { close, lockExclusive, reap as waitFor } from '../../native.ts';
import type { Engine } from '../engine.ts';
import { InvalidArgumentError } from '../errors.ts';
import { type Cable, cableTo } from '../networks/wiring.ts';
import { randomHex } from '../random.ts';
import { type Monitor, order, spawnMonitor } from './monitor.ts';
import { containerPaths, type Paths } from './paths.ts';
import { ignoringMissing } from './reap.ts';
import type { Settings } from './settings.ts';
import { letGo } from './start.ts';

const most = 100;
/** In the place of a network's id. */
const none = '';

/** A monitor that waits, with the lock and the run directory that its container gets. */
export interface Spare extends Monitor {
  paths: Paths;
  lock: number;
  /** At the network that its container is to be on, where it is to be on one. */
  cable: Cable | undefined;
}

export class Spares {
  readonly #engine: Engine;
  readonly #wanted: number;
  /** The one that has waited longest first. */
  readonly #waiting: Spare[] = [];
  #filling: NodeJS.Immediate | undefined;

  constructor(engine: Engine, wanted = 0) {
    if (!Number.isInteger(wanted) || wanted < 0 || wanted > most) {
      throw new InvalidArgumentError('SPARES_INVALID', `invalid spares ${wanted}: give a number from 0 to ${most}`);
    }
    this.#engine = engine;
    this.#wanted = wanted;
  }

  /** The caller's, for a container with this id; undefined where none is waiting that suits it. */
  take(id: string, settings: Settings): Spare | undefined {
    if (this.#waiting.length === 0) return undefined;
    const network = this.#networkOf(settings);
    const paths = containerPaths(this.#engine.root, this.#engine.runRoot, id);
    for (const spare of this.#waiting.filter((each) => isAt(each, network))) {
      this.#waiting.splice(this.#waiting.indexOf(spare), 1);
      if (hand(spare, paths)) return { ...spare, paths };
      void dismiss(spare);
    }
    return undefined;
  }

  /** As a container has started: sees to it that one like its monitor is waiting, and as many as are wanted. */
  restock(settings: Settings): void {
    if (this.#wanted === 0 || this.#filling !== undefined) return;
    const network = this.#networkOf(settings);
    if (network !== undefined) this.#filling = setImmediate(() => this.#fill(network));
  }

  /** Nobody waits any more when this is settled. */
  async close(): Promise<void> {
    clearImmediate(this.#filling);
    this.#filling = undefined;
    await Promise.all(this.#waiting.splice(0).map(dismiss));
  }

  /** One at a time: each takes a part of a millisecond, in which this program does nothing else. */
  #fill(network: string): void {
    this.#filling = undefined;
    if (this.#waiting.length >= this.#wanted) {
      if (this.#waiting.some((spare) => isAt(spare, network))) return;
      void dismiss(this.#waiting.shift() as Spare);
    }
    try {
      this.#waiting.push(this.#make(network));
    } catch {
      // What hinders it, the next start meets too, and tells.
      return;
    }
    this.#filling = setImmediate(() => this.#fill(network));
  }

  #make(network: string): Spare {
    const paths = containerPaths(this.#engine.root, this.#engine.runRoot, randomHex(32));
    const cable = network === none ? undefined : cableTo(this.#engine.networks.ofEndpoint({ networkId: network }));
    const lock = lockExclusive(paths.lock);
    try {
      const monitor = spawnMonitor(lock, 'spare');
      order(monitor, JSON.stringify({ runDirectory: paths.runDirectory, cable }));
      return { ...monitor, paths, lock, cable };
    } catch (error) {
      letGo(paths, lock);
      throw error;
    }
  }

  /** The network that counts; undefined where a monitor cannot know beforehand what it has to do. */
  #networkOf({ network, networks }: Settings): string | undefined {
    if (network === 'none' || network === 'host') return none;
    const first = networks[0]?.network;
    const row = first === undefined ? undefined : ignoringMissing(() => this.#engine.networks.row(first));
    return row?.driver === 'bridge' ? row.id : undefined;
  }
}

function isAt({ cable }: Spare, network: string | undefined): boolean {
  return (cable?.network ?? none) === network;
}

/** Whether a container has got a spare's lock; its monitor may have been killed meanwhile. */
function hand({ pid, paths: own }: Spare, paths: Paths): boolean {
  try {
    const [, state] = /\) (\w)/.exec(readFileSync(`/proc/${pid}/stat`, 'latin1')) ?? [];
    if (state === 'Z' || state === 'X') return false;
    renameSync(own.runDirectory, paths.runDirectory);
    return true;
  } catch {
    return false;
  }
}

/** It goes when nobody can tell it anything any more. */
export async function dismiss({ pid, connection, complaints, orders, lock, paths }: Spare): Promise<void> {
  for (const fd of [connection, complaints, orders]) close(fd);
  await waitFor(pid).catch(() => {});
  letGo(paths, lock);
}
