// From a row to a running program, and from its end to a row that says so: ARCHITECTURE.md, "Life of a container, and crashes".
// One way for run, start and the SDK; they differ in the first request on the connection.

import { existsSync, readFileSync } from 'node:fs';

import { close, lockExclusive, now, reap as waitFor, removeRunDirectory, send, type Exit } from '../../native.ts';
import { diskError } from '../disk.ts';
import type { Engine } from '../engine.ts';
import { ConflictError, type KapselError } from '../errors.ts';
import { deviceAccess } from './devices.ts';
import { ground } from './ground.ts';
import { encode, launch } from './launch.ts';
import { trace } from '../trace.ts';
import { exitStatus, MonitorLostError } from './exit.ts';
import { complaintOf, type Monitor, order, spawnMonitor, type StreamRequest } from './monitor.ts';
import { signalNumber } from './notation/quantities.ts';
import { containerPaths, type Paths } from './paths.ts';
import { closePipes, type Pipes } from './pipes.ts';
import { prepareBinds, prepareDirectories, prepareEmptyFiles, prepareFiles } from './prepare.ts';
import { anonymousVolumes, dying, forget, ignoringMissing, reap, removeRemains, whileDead } from './reap.ts';
import type { ExitStatus } from './options.ts';
import { sharedNamespace, wire } from '../networks/wiring.ts';
import type { Start, Witness } from './session.ts';
import type { Settings } from './settings.ts';
import type { Spare } from './spares.ts';

/** A container that is about to start: its lock is held by this process. */
export interface Claim {
  id: string;
  name: string;
  paths: Paths;
  settings: Settings;
  layers: readonly string[];
  lock: number;
  /** The monitor that has waited for it, with what is ready in there. */
  spare?: Spare | undefined;
  /** A checkpoint to begin with, instead of the program. */
  restore?: Restore;
}

/** As the monitor takes it. */
export interface Restore {
  images: string;
  work: string;
  tcpEstablished: boolean;
  fileLocks: boolean;
}

export function claimLock(engine: Engine, id: string): { paths: Paths; lock: number } {
  const paths = containerPaths(engine.root, engine.runRoot, id);
  try {
    return { paths, lock: lockExclusive(paths.lock) };
  } catch (error) {
    if (error instanceof ConflictError) {
      throw new ConflictError(
        'CONTAINER_CONFLICT',
        `container ${id.slice(0, 12)} is running, or being started or removed`,
        {
          cause: error,
        },
      );
    }
    throw error;
  }
}

/** Takes a claim back, of which there was nothing yet but the lock. */
export function letGo(paths: Paths, lock: number): void {
  removeRunDirectory(paths.runDirectory);
  close(lock);
}

/** A monitor under way, and the duty to record what becomes of it. The caller owns its connection. */
export class Life implements Witness {
  readonly connection: number;
  /** Settles when what somebody had flushed out of the packet filter is back. */
  repaired: Promise<unknown> = Promise.resolve();
  readonly #engine: Engine;
  readonly #claim: Claim;
  readonly #pid: number;
  #complaints: number | undefined;
  #running = false;
  #collected = false;

  /** Whatever fails here leaves the row as ended, or, with --rm, nothing. */
  static async begin(engine: Engine, claim: Claim, first?: StreamRequest): Promise<Life> {
    trace('recorded');
    const held = [claim.lock, ...(first?.closing ?? [])];
    let life: Life | undefined;
    let failure: { error: KapselError; exit: Exit } | undefined;
    try {
      const monitor = claim.spare ?? spawnMonitor(claim.lock);
      held.push(monitor.orders);
      life = new Life(engine, claim, monitor);
      trace('spawned');
      // Carried out before the program starts, so that no output is lost.
      if (first !== undefined) send(monitor.connection, first.request, first.fds);
      life.#instruct(monitor);
      trace('prepared');
    } catch (cause) {
      const error = diskError(cause) as KapselError;
      failure = { error, exit: { exitCode: recorded(error), error: error.message } };
      // While the lock is held: nobody else says how it ended.
      engine.database.exited(claim.id, failure.exit);
    } finally {
      // By now the monitor has its own of each, or nobody needs them.
      for (const fd of held) close(fd);
    }
    if (failure === undefined) return life as Life;
    if (life) await life.#dismiss();
    await conclude(engine, claim, failure.exit);
    throw failure.error;
  }

  private constructor(engine: Engine, claim: Claim, monitor: Monitor) {
    this.#engine = engine;
    this.#claim = claim;
    this.#pid = monitor.pid;
    this.#complaints = monitor.complaints;
    this.connection = monitor.connection;
  }

  /** Prepares what the container needs, and tells the monitor what to make of it, while that is coming. */
  #instruct(monitor: Monitor): void {
    const engine = this.#engine;
    const { id, paths, settings, layers, restore } = this.#claim;
    const given = {
      ...ground(settings, deviceAccess(settings.devices, settings.privileged)),
      network: sharedNamespace(engine, settings),
    };
    const owner = given.mappings[0]?.hostID;
    const awaitsNetwork = settings.network === 'bridge';
    prepareDirectories(paths, owner);
    if (awaitsNetwork) prepareEmptyFiles(paths, owner);
    else prepareFiles(settings, paths, owner);
    prepareBinds(settings);
    engine.volumes.prepare(settings, owner);
    order(monitor, encode({ ...launch(id, settings, paths, layers, given), restore, awaitsNetwork }));
    if (!awaitsNetwork) return;
    const network = wire(engine, this.#claim, settings);
    prepareFiles(settings, paths, owner, network);
    order(monitor, encode(network));
  }

  get endsUnread(): boolean {
    return this.#claim.settings.rm;
  }

  started({ pid, startedAt, filterMade = false }: Start): void {
    trace('running');
    this.#running = true;
    this.#hush();
    this.#engine.spares.restock(this.#claim.settings);
    ignoringMissing(() => this.#engine.database.started(this.#claim.id, pid, startedAt));
    // What cannot be put back now, the next command tries again.
    if (filterMade) this.repaired = this.#engine.networks.repair().catch(() => false);
  }

  async ended(status: ExitStatus): Promise<ExitStatus> {
    trace('ended');
    const { exitCode, signal, oomKilled, finishedAt } = status;
    await this.#finish({ exitCode, oomKilled, finishedAt, ...(signal ? { signal: signalNumber(signal) } : {}) });
    trace('finished');
    return status;
  }

  async failed(error: KapselError): Promise<ExitStatus> {
    const lost = error instanceof MonitorLostError;
    if (lost) await this.#cleanUp();
    if (lost && this.#running) return this.ended(lastWords(this.#claim.paths.exit));
    const reason = lost && this.#complaints !== undefined ? (complaintOf(this.#complaints) ?? error) : error;
    await this.#finish({ exitCode: recorded(reason), error: reason.message });
    throw reason;
  }

  async #finish(exit: Exit): Promise<void> {
    this.#hush();
    this.#collect();
    await this.repaired;
    await conclude(this.#engine, this.#claim, exit);
  }

  /** A monitor that was not told everything ends; nobody has heard of it yet. */
  async #dismiss(): Promise<void> {
    close(this.connection);
    this.#hush();
    await this.#cleanUp();
  }

  /** A monitor whose container runs has nothing to complain of; the fewer descriptors, the sooner the next one begins. */
  #hush(): void {
    if (this.#complaints !== undefined) close(this.#complaints);
    this.#complaints = undefined;
  }

  /** A monitor that was killed has cleaned nothing. */
  async #cleanUp(): Promise<void> {
    await waitFor(this.#pid);
    this.#collected = true;
    const { id, paths, settings } = this.#claim;
    await whileDead(paths.lock, () => reap(`${settings.cgroupParent}/${id}`, []), dying);
  }

  /** The monitor is this process's child: its exit is taken, so that no zombie stays. */
  #collect(): void {
    if (!this.#collected) void waitFor(this.#pid).catch(() => {});
  }
}

/** As `Life.begin`, with streams: where it fails, our ends of them are closed too. */
export function beginWith(engine: Engine, claim: Claim, pipes: Pipes): Promise<Life> {
  return Life.begin(engine, claim, pipes).catch((error: unknown) => {
    closePipes(pipes);
    throw error;
  });
}

/** What a monitor wrote down before it was killed, or 137, as everybody else will see it. */
function lastWords(path: string): ExitStatus {
  try {
    return exitStatus(JSON.parse(readFileSync(path, 'utf8')) as Parameters<typeof exitStatus>[0]);
  } catch {
    return { exitCode: 137, signal: 'SIGKILL', oomKilled: false, finishedAt: now() };
  }
}

/** As Docker records a start that failed: 128 where the fault is the engine's, whose commands exit with 125. */
function recorded({ exitCode }: KapselError): number {
  return exitCode === 126 || exitCode === 127 ? exitCode : 128;
}

/**
 * Writes down how a life has ended. By its last word the monitor has removed the cgroup and what --rm names, and has let go
 * of the lock.
 */
async function conclude(engine: Engine, { id, paths, settings }: Claim, exit: Exit): Promise<void> {
  const { database } = engine;
  // With --rm the monitor has removed all else. Without, somebody may have started the container again since: then its
  // row and its run directory are about another life.
  if (settings.rm && !existsSync(paths.directory)) {
    ignoringMissing(() => database.exited(id, exit));
    removeRunDirectory(paths.runDirectory);
    await forget(engine, id, anonymousVolumes(settings));
    return;
  }
  await whileDead(paths.lock, async () => {
    ignoringMissing(() => database.exited(id, exit));
    const row = settings.rm ? ignoringMissing(() => database.container(id)) : undefined;
    if (row !== undefined) await removeRemains(engine, row, true);
    removeRunDirectory(paths.runDirectory);
  });
}
