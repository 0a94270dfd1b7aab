// One container: a handle on its row, its run directory and its monitor's socket. Holds no truth of its own:
// every method looks.

import type { Duplex, Readable, Writable } from 'node:stream';

import type { Engine } from '../engine.ts';
import type {
  ExecOptions,
  ExecResult,
  ExitStatus,
  LogEntry,
  LogsOptions,
  RemoveOptions,
  Session,
  Signal,
  Stdio,
  StopOptions,
} from './options.ts';

/** Streams of a running program. With a terminal, stdout carries everything. */
export interface AttachedStreams {
  stdin: Writable;
  stdout: Readable;
  stderr: Readable;
  /** The terminal's both ways, where there is one. */
  terminal?: Duplex;
  resize(columns: number, rows: number): Promise<void>;
  exited: Promise<ExitStatus>;
  close(): void;
}

/** A program that runs in a container beside its first. */
export interface ExecProcess extends AttachedStreams {
  pid: number;
  kill(signal?: Signal): Promise<void>;
}

/** Docker's `inspect`, as far as it means something here. */
export type ContainerInspect = Record<string, unknown> & { Id: string; Name: string; State: Record<string, unknown> };

export class Container {
  readonly id: string;
  readonly name: string;
  readonly #engine: Engine;

  constructor(engine: Engine, id: string, name: string) {
    this.#engine = engine;
    this.id = id;
    this.name = name;
  }

  /** Resolves when the program runs. */
  async start(): Promise<void> {
    void this.#engine;
    throw new Error('not written yet');
  }

  /** Starts with its streams joined to descriptors: `kapsel start -a`. */
  async startAttached(_stdio: Stdio): Promise<Session> {
    throw new Error('not written yet');
  }

  /** Joins descriptors to the streams of a running container: `kapsel attach`. */
  async attachTo(_stdio: Stdio): Promise<Session> {
    throw new Error('not written yet');
  }

  /** Joins Node streams to a running container, or to one that is created, before its start. */
  async attach(): Promise<AttachedStreams> {
    throw new Error('not written yet');
  }

  /** Runs a program beside the first and resolves with its output. */
  exec(options: ExecOptions & { encoding: 'buffer' }): Promise<ExecResult<Buffer>>;
  exec(options: ExecOptions): Promise<ExecResult>;
  async exec(_options: ExecOptions): Promise<ExecResult<string | Buffer>> {
    throw new Error('not written yet');
  }

  /** Runs a program beside the first, its streams in hand. */
  async spawn(_options: ExecOptions): Promise<ExecProcess> {
    throw new Error('not written yet');
  }

  /** Runs a program beside the first with descriptors for streams: `kapsel exec`. No descriptors: detached. */
  async execAttached(_options: ExecOptions, _stdio: Stdio & { detach?: boolean }): Promise<Session> {
    throw new Error('not written yet');
  }

  /** Resolves when it is not running; at once where it does not. */
  async wait(_options: { signal?: AbortSignal } = {}): Promise<ExitStatus> {
    throw new Error('not written yet');
  }

  async *logs(_options: LogsOptions = {}): AsyncGenerator<LogEntry> {}

  async stop(_options: StopOptions = {}): Promise<void> {}

  async kill(_signal: Signal = 'SIGKILL'): Promise<void> {}

  async pause(): Promise<void> {}

  async unpause(): Promise<void> {}

  async remove(_options: RemoveOptions = {}): Promise<void> {}

  async inspect(): Promise<ContainerInspect> {
    throw new Error('not written yet');
  }
}
