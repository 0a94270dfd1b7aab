// One container: a handle on its row, its run directory and its monitor's socket. Holds no truth of its own: every
// method looks.

import { existsSync, readFileSync } from 'node:fs';

import { close, type ContainerRow } from '../../native.ts';
import type { Engine } from '../engine.ts';
import { AbortedError, ConflictError, KapselError, NotFoundError } from '../errors.ts';
import { execRequest } from './exec.ts';
import { MonitorUnresponsiveError } from './exit.ts';
import { describeContainer, type ContainerInspect } from './inspect.ts';
import { readLog } from './logs.ts';
import { signalNumber } from './notation/quantities.ts';
import type {
  CheckpointOptions,
  CommitOptions,
  ExportOptions,
  ExecOptions,
  ExecResult,
  ExitStatus,
  LogEntry,
  LogsOptions,
  PathChange,
  RemoveOptions,
  RestoreOptions,
  Session,
  Signal,
  Stdio,
  StopOptions,
} from './options.ts';
import { containerPaths, layerDirectory, type Paths } from './paths.ts';
import { openPipes } from './pipes.ts';
import { isAlive, isEnded, reachMonitor } from './reach.ts';
import { dying, reconcile, removeRemains, whileDead } from './reap.ts';
import { bystander, join, joining, openSession } from './session.ts';
import type { Settings } from './settings.ts';
import type { ContainerStats } from './stats.ts';
import { beginWith, claimLock, Life, type Claim } from './start.ts';
import type { AttachedStreams, ExecProcess } from './supervise.ts';
import { supervision } from './supervision.ts';

export type { ContainerInspect } from './inspect.ts';
export type { ContainerStats, InterfaceStats } from './stats.ts';
export type { AttachedStreams, ExecProcess } from './supervise.ts';

export class Container {
  readonly id: string;
  readonly name: string;
  readonly #engine: Engine;
  readonly #paths: Paths;

  /** The end of the life that this handle began, known also when --rm has taken the row away. */
  #ended: Promise<ExitStatus> | undefined;

  /** For the engine's own use: `Containers.get` finds a container. */
  constructor(engine: Engine, id: string, name: string, ended?: Promise<ExitStatus>) {
    this.#ended = ended;
    this.#engine = engine;
    this.id = id;
    this.name = name;
    this.#paths = containerPaths(engine.root, engine.runRoot, id);
  }

  /** Resolves when the program runs; at once where it does already. */
  async start(): Promise<void> {
    if (await this.#isRunning()) return;
    const life = await Life.begin(this.#engine, this.#claim());
    const { runDetached } = await supervision();
    this.#ended = (await runDetached(this.#engine, life)).exited;
  }

  /** Starts with its streams joined to descriptors: `kapsel start -a`. */
  async startAttached(stdio: Stdio): Promise<Session> {
    if (await this.#isRunning()) return this.attachTo(stdio);
    const claim = this.#claim();
    const joined = joining({ request: 'attach' }, stdio, claim.settings.tty);
    const life = await beginWith(this.#engine, claim, joined);
    return openSession(life.connection, joined, stdio, life);
  }

  /** Joins descriptors to the streams of a running container: `kapsel attach`. */
  async attachTo(stdio: Stdio): Promise<Session> {
    const { settings, fd } = await this.#running();
    const joined = joining({ request: 'attach' }, stdio, settings.tty);
    join(fd, joined);
    return openSession(fd, joined, stdio, bystander);
  }

  /** Joins Node's streams to a running container. */
  async attach(): Promise<AttachedStreams> {
    const { attached, Connection } = await supervision();
    const { settings, fd } = await this.#running();
    const pipes = openPipes(
      { request: 'attach' },
      { stdin: settings.interactive, stdout: true, stderr: !settings.tty },
    );
    const connection = new Connection(fd, { unanswered: 1 });
    connection.send(pipes);
    return attached(connection, pipes);
  }

  /** Starts the container with its streams in hand from the first byte. */
  async startStreams(): Promise<AttachedStreams> {
    const { attached, Connection, witnessed } = await supervision();
    const claim = this.#claim();
    const { interactive, tty } = claim.settings;
    const pipes = openPipes({ request: 'attach' }, { stdin: interactive, stdout: true, stderr: !tty });
    const life = await beginWith(this.#engine, claim, pipes);
    const connection = new Connection(life.connection, { unanswered: 1 });
    const streams = attached(connection, pipes);
    const { started, exited } = witnessed(connection, life);
    await started;
    return { ...streams, exited };
  }

  /** Runs a program beside the first and resolves with its output. */
  exec(options: ExecOptions & { encoding: 'buffer' }): Promise<ExecResult<Buffer>>;
  exec(options: ExecOptions): Promise<ExecResult>;
  async exec(options: ExecOptions): Promise<ExecResult<string | Buffer>> {
    const began = performance.now();
    if (options.signal?.aborted) throw new AbortedError();
    const { settings, fd } = await this.#running();
    const { collect, Connection, defaultMaxBuffer, feed, maxBufferExceeded, Stopper } = await supervision();
    const wanted = {
      stdin: options.input !== undefined || (options.interactive ?? false),
      stdout: true,
      stderr: !options.tty,
    };
    const pipes = openPipes(execRequest(settings, options), wanted);
    const connection = new Connection(fd, { exec: true });
    const stop = new Stopper(connection, options.signal);
    const most = options.maxBuffer ?? defaultMaxBuffer;
    try {
      connection.send(pipes);
      if (pipes.stdin !== undefined) feed(pipes.stdin, options.input ?? '');
      const overflow = () => stop.now(maxBufferExceeded(most));
      const [stdout, stderr, status] = await Promise.all([
        collect(pipes.stdout!, most, overflow),
        pipes.stderr === undefined ? Buffer.alloc(0) : collect(pipes.stderr, most, overflow),
        connection.exited,
      ]);
      stop.check();
      const decode = (bytes: Buffer) => (options.encoding === 'buffer' ? bytes : bytes.toString('utf8'));
      return { ...status, stdout: decode(stdout), stderr: decode(stderr), duration: performance.now() - began };
    } catch (error) {
      stop.check();
      throw error;
    } finally {
      stop.release();
      connection.close();
    }
  }

  /** Runs a program beside the first, its streams in hand. */
  async spawn(options: ExecOptions): Promise<ExecProcess> {
    const { attached, Connection } = await supervision();
    const { settings, fd } = await this.#running();
    const tty = options.tty ?? false;
    const pipes = openPipes(execRequest(settings, options), {
      stdin: options.interactive ?? options.input !== undefined,
      stdout: true,
      stderr: !tty,
    });
    const connection = new Connection(fd, { exec: true });
    connection.send(pipes);
    const streams = attached(connection, pipes);
    const { pid } = await connection.started;
    return { ...streams, pid };
  }

  /** Runs a program beside the first on this process's descriptors: `kapsel exec`. With `detach`, on none. */
  async execAttached(options: ExecOptions, stdio: Stdio & { detach?: boolean }): Promise<Session> {
    const { settings, fd } = await this.#running();
    const base = execRequest(settings, options, stdio.detach);
    const joined = joining(base, stdio.detach ? {} : stdio, options.tty ?? false);
    join(fd, joined);
    return openSession(fd, joined, stdio, bystander);
  }

  /** Resolves when it is not running, at once where it is not. */
  async wait(options: { signal?: AbortSignal } = {}): Promise<ExitStatus> {
    const { Connection } = await supervision();
    if (options.signal?.aborted) throw new AbortedError();
    const fd = await reachMonitor(this.#engine, this.id, options.signal).catch((error: unknown) => {
      if (error instanceof NotFoundError && this.#ended !== undefined) return undefined;
      throw error;
    });
    if (fd === undefined) return this.#lastExit();
    const connection = new Connection(fd);
    const abort = () => connection.close();
    options.signal?.addEventListener('abort', abort);
    try {
      return await connection.exited;
    } catch (error) {
      if (options.signal?.aborted) throw new AbortedError();
      // It never ran, or its monitor was killed: what is recorded says how it went.
      if (!(error instanceof KapselError)) throw error;
      await this.#untilUnlocked();
      await reconcile(this.#engine);
      return this.#lastExit(error.exitCode);
    } finally {
      options.signal?.removeEventListener('abort', abort);
      connection.close();
    }
  }

  async *logs(options: LogsOptions = {}): AsyncGenerator<LogEntry> {
    const { document } = await this.#row();
    const { log } = document as Settings;
    if (log.driver === 'none') {
      throw new ConflictError('LOG_UNSUPPORTED', 'configured logging driver does not support reading: it is none');
    }
    const looking = new AbortController();
    try {
      yield* readLog(this.#paths.log, options, () => this.wait({ signal: looking.signal }));
    } finally {
      looking.abort();
    }
  }

  /** Resolves when it has stopped; at once where it does not run. */
  async stop(options: StopOptions = {}): Promise<void> {
    const { Connection } = await supervision();
    const { document } = await this.#row();
    const settings = document as Settings;
    const signal = options.signal === undefined ? settings.stopSignal : signalNumber(options.signal);
    const fd = await reachMonitor(this.#engine, this.id);
    if (fd === undefined) return;
    const connection = new Connection(fd);
    try {
      await connection.request({ request: 'stop', signal, timeout: options.timeout ?? settings.stopTimeout });
      await connection.exited;
    } catch (error) {
      if (!isEnded(error)) throw error;
    } finally {
      connection.close();
    }
    await reconcile(this.#engine);
  }

  /** CONTAINER_NOT_RUNNING where there is nothing to signal. */
  async kill(signal: Signal = 'SIGKILL'): Promise<void> {
    const { Connection } = await supervision();
    const number = signalNumber(signal);
    const { fd } = await this.#running(`cannot kill container: ${this.name}: `);
    const connection = new Connection(fd);
    try {
      await connection.request({ request: 'signal', signal: number });
      this.#engine.database.appendEvent({
        kind: 'container',
        action: 'kill',
        id: this.id,
        attributes: { name: this.name, signal: String(number) },
      });
      // After SIGKILL nothing is left but to be gone.
      if (number === 9) await connection.exited.catch(() => {});
    } finally {
      connection.close();
    }
    if (number === 9) await reconcile(this.#engine);
  }

  /** What it has used since it began. CONTAINER_NOT_RUNNING. */
  async stats(): Promise<ContainerStats> {
    const { readStats } = await import('./stats.ts');
    const { pid } = await this.#row();
    const { fd } = await this.#running();
    return readStats(fd, pid);
  }

  async pause(): Promise<void> {
    await this.#ask({ request: 'pause' });
    this.#engine.database.paused(this.id);
  }

  async unpause(): Promise<void> {
    await this.#ask({ request: 'resume' });
    this.#engine.database.unpaused(this.id);
  }

  /** Writes the running program down, with its memory; it ends unless told otherwise. */
  async checkpoint(options: CheckpointOptions = {}): Promise<void> {
    const { checkpoint } = await import('./checkpoint.ts');
    const { fd } = await this.#running(`cannot checkpoint container: ${this.name}: `);
    await checkpoint(this.#engine, await this.#row(), fd, options);
  }

  /** Goes on where a checkpoint that was not exported left off; resolves when the program runs. */
  async restore(options: RestoreOptions = {}): Promise<void> {
    if (!existsSync(this.#paths.checkpoint)) {
      throw new NotFoundError('CHECKPOINT_NOT_FOUND', `container ${this.name} has no checkpoint`, {
        hint: 'make one with kapsel checkpoint, or give the file of an exported one',
      });
    }
    const { restore } = await import('./restore.ts');
    this.#ended = (await restore(this.#engine, () => this.#claim(), options)).exited;
  }

  async remove(options: RemoveOptions = {}): Promise<void> {
    const row = await this.#row();
    if (isAlive(row)) {
      if (!options.force) {
        throw new ConflictError(
          'CONTAINER_CONFLICT',
          `cannot remove container "${this.name}": container is ${row.status === 'paused' ? 'paused' : 'running'}: stop the container before removing or force remove`,
        );
      }
      await this.kill('SIGKILL').catch((error: unknown) => {
        if (error instanceof MonitorUnresponsiveError) return this.#endMonitor(row);
        if (!isEnded(error)) throw error;
        return this.#untilUnlocked();
      });
      await reconcile(this.#engine);
      // With --rm it has vanished by itself.
      if (row.autoRemove) return;
    }
    const { lock } = claimLock(this.#engine, this.id);
    try {
      await removeRemains(this.#engine, await this.#row(), options.volumes ?? false);
    } finally {
      close(lock);
    }
  }

  /** What it has changed so far, as a new image; resolves to its id. A running program is paused meanwhile. */
  async commit(options: CommitOptions = {}): Promise<string> {
    const { commit } = await import('./commit.ts');
    const pauses = (options.pause ?? true) && (await this.#row()).status === 'running';
    if (pauses) await this.pause();
    try {
      return await commit(this.#engine, await this.#row(), options);
    } finally {
      if (pauses) await this.unpause();
    }
  }

  /** What it has added, changed and deleted, by path. */
  async diff(): Promise<PathChange[]> {
    const { changesOf } = await import('./commit.ts');
    return await changesOf(this.#engine, await this.#row());
  }

  /** Its whole tree as a tar, without what is mounted in it. `write` takes the bytes. */
  async export(write: (tar: AsyncIterable<Uint8Array>) => Promise<void>, options: ExportOptions = {}): Promise<void> {
    const { exportTo } = await import('./commit.ts');
    await exportTo(this.#engine, await this.#row(), write, options);
  }

  /** Docker's JSON. */
  async inspect(): Promise<ContainerInspect> {
    return describeContainer(this.#engine, await this.#row());
  }

  /** Kills a monitor that does not answer: its container dies with it, and its lock is free then. */
  async #endMonitor({ pid }: ContainerRow): Promise<void> {
    // It has not reaped the container's first process, so that this id is that process's still.
    const monitor = Number(/^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
    if (readFileSync(`/proc/${monitor}/comm`, 'utf8') !== 'kapsel-monitor\n') throw new MonitorUnresponsiveError();
    process.kill(monitor, 'SIGKILL');
    await this.#untilUnlocked();
  }

  /** Waits for a monitor that is ending: until then its container counts as alive. */
  async #untilUnlocked(): Promise<void> {
    if (existsSync(this.#paths.lock)) await whileDead(this.#paths.lock, () => Promise.resolve(), dying);
  }

  async #ask(request: object): Promise<void> {
    const { Connection } = await supervision();
    const { fd } = await this.#running();
    const connection = new Connection(fd);
    try {
      await connection.request(request);
    } finally {
      connection.close();
    }
  }

  async #row(): Promise<ContainerRow> {
    await reconcile(this.#engine);
    return this.#engine.database.container(this.id);
  }

  async #isRunning(): Promise<boolean> {
    let row = this.#engine.database.container(this.id);
    // Whoever ended in peace is not said to live and has no run directory: only for others is everybody's lock looked at.
    if (isAlive(row) || existsSync(this.#paths.runDirectory)) row = await this.#row();
    if (row.status === 'paused') {
      throw new ConflictError('CONTAINER_CONFLICT', 'cannot start a paused container, try unpause instead');
    }
    return isAlive(row);
  }

  /** Takes the container's lock and says in its row that it is being started. */
  #claim(): Claim {
    const { paths, lock } = claimLock(this.#engine, this.id);
    try {
      this.#engine.database.starting(this.id);
      const row = this.#engine.database.container(this.id);
      return {
        id: this.id,
        name: row.name,
        paths,
        settings: row.document as Settings,
        layers: row.layers.map((diffId) => layerDirectory(this.#engine.root, diffId)).reverse(),
        lock,
      };
    } catch (error) {
      close(lock);
      throw error;
    }
  }

  /** A connection to its monitor, or CONTAINER_NOT_RUNNING. */
  async #running(prefix = ''): Promise<{ settings: Settings; fd: number }> {
    const row = this.#engine.database.container(this.id);
    const fd = await reachMonitor(this.#engine, this.id);
    if (fd !== undefined) return { settings: row.document as Settings, fd };
    await reconcile(this.#engine);
    throw new ConflictError('CONTAINER_NOT_RUNNING', `${prefix}container ${this.id} is not running`);
  }

  async #lastExit(otherwise = 0): Promise<ExitStatus> {
    try {
      const row = this.#engine.database.container(this.id);
      return { exitCode: row.exitCode ?? 0, oomKilled: row.oomKilled, finishedAt: row.finishedAt ?? '' };
    } catch (error) {
      if (!(error instanceof NotFoundError)) throw error;
      // It was of --rm, and has vanished.
      return (await this.#ended) ?? { exitCode: otherwise, oomKilled: false, finishedAt: '' };
    }
  }
}
