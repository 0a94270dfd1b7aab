// Staying with a program over its connection: letting its streams be used, ending it for a reason, and seeing to it that
// the container's row says what has happened before anybody hears of it.

import type { Readable, Writable } from 'node:stream';

import type { Engine } from '../engine.ts';
import { AbortedError, type KapselError } from '../errors.ts';
import { Connection } from './connection.ts';
import { signalNumber } from './notation/quantities.ts';
import type { ExitStatus, Signal } from './options.ts';
import type { Life } from './start.ts';
import type { Pipes } from './pipes.ts';
import { reader, writer } from './streams.ts';

export { Connection } from './connection.ts';
export { collect, defaultMaxBuffer, feed, maxBufferExceeded } from './streams.ts';

/** Streams of a running program. With a terminal, stdout carries everything. */
export interface AttachedStreams {
  stdin: Writable | undefined;
  stdout: Readable;
  stderr: Readable | undefined;
  resize(columns: number, rows: number): Promise<void>;
  kill(signal?: Signal): Promise<void>;
  exited: Promise<ExitStatus>;
  /** Lets go; the program runs on. */
  close(): void;
}

/** A program that runs in a container beside its first. */
export interface ExecProcess extends AttachedStreams {
  /** Its id on the host. */
  pid: number;
}

/**
 * Waits until the program runs. From then on nobody waits for it; but while this process lives, and keeps the engine
 * open, its end is recorded at once. How it ended is to be had from the promise, also of one that has vanished with --rm.
 */
export async function runDetached(engine: Engine, life: Life): Promise<{ exited: Promise<ExitStatus> }> {
  const connection = new Connection(life.connection);
  const { started, exited } = witnessed(connection, life);
  await started;
  await life.repaired;
  connection.unref();
  const release = engine.onClose(() => connection.close());
  const done = () => {
    release();
    connection.close();
  };
  exited.then(done, done);
  return { exited };
}

/** The connection's promises, settled only when the row says the same. */
export function witnessed(
  connection: Connection,
  life: Life,
): { started: Promise<{ pid: number }>; exited: Promise<ExitStatus> } {
  const exited = connection.exited.then(
    (status) => life.ended(status),
    // Letting go of a program is no end of it.
    (error: KapselError) => (error.code === 'DETACHED' ? Promise.reject(error) : life.failed(error)),
  );
  exited.catch(() => {});
  const started = connection.started.then(
    (start) => {
      life.started(start);
      return { pid: start.pid };
    },
    // The better explanation is the one that `exited` has.
    () => exited.then(() => ({ pid: 0 })),
  );
  started.catch(() => {});
  return { started, exited };
}

/** Our ends of a program's streams as Node's. */
export function attached(connection: Connection, pipes: Pipes): AttachedStreams {
  return {
    stdin: pipes.stdin === undefined ? undefined : writer(pipes.stdin),
    stdout: reader(pipes.stdout!),
    stderr: pipes.stderr === undefined ? undefined : reader(pipes.stderr),
    resize: (columns, rows) => connection.request({ request: 'resize', columns, rows }),
    kill: (signal = 'SIGKILL') => connection.request({ request: 'signal', signal: signalNumber(signal) }),
    exited: connection.exited.finally(() => connection.close()),
    close: () => connection.close(),
  };
}

/** Ends a program for a reason, and remembers it: an AbortSignal, a time limit, too much output. */
export class Stopper {
  readonly #connection: Connection;
  readonly #signal: AbortSignal | undefined;
  readonly #timer: NodeJS.Timeout | undefined;
  #reason: KapselError | undefined;

  constructor(
    connection: Connection,
    signal: AbortSignal | undefined,
    timeout?: { seconds: number; error: KapselError },
  ) {
    this.#connection = connection;
    this.#signal = signal;
    signal?.addEventListener('abort', this.#abort);
    if (timeout !== undefined) this.#timer = setTimeout(() => this.now(timeout.error), timeout.seconds * 1000);
  }

  now(reason: KapselError): void {
    this.#reason ??= reason;
    const kill = () => this.#connection.request({ request: 'signal', signal: 9 });
    // One that has not started yet cannot be signalled: as soon as it has.
    kill()
      .catch(() => this.#connection.started.then(kill))
      .catch(() => {});
  }

  /** Throws the reason, if there was one. */
  check(): void {
    if (this.#reason !== undefined) throw this.#reason;
  }

  release(): void {
    clearTimeout(this.#timer);
    this.#signal?.removeEventListener('abort', this.#abort);
  }

  readonly #abort = (): void => this.now(new AbortedError());
}
