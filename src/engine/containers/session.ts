// Programs whose streams are this process's own descriptors: the fast path of `kapsel run`, `exec`, `attach`. The monitor
// reads and writes the descriptors itself; only a terminal's input passes through here, to be searched for the detach keys.

import { close, pipe, pump, send, type PumpEnd } from '../../native.ts';
import { type KapselError, startErrorFrom } from '../errors.ts';
import { exitStatus, isOfExec, MonitorLostError } from './exit.ts';
import type { StreamRequest } from './monitor.ts';
import { signalNumber } from './notation/quantities.ts';
import type { ExitStatus, Session, Stdio } from './options.ts';

/** Who is told what becomes of the program, before the session's promises settle. */
export interface Witness {
  started(pid: number): void;
  ended(status: ExitStatus): Promise<ExitStatus>;
  /** Throws, or says how it ended after all. */
  failed(error: KapselError): Promise<ExitStatus>;
}

/** For whoever only looks on. */
export const bystander: Witness = {
  started: () => {},
  ended: (status) => Promise.resolve(status),
  failed: (error) => Promise.reject(error),
};

/** A request that joins descriptors, and the end at which a terminal's input is to be written. */
export interface Joined extends StreamRequest {
  input?: number;
  exec: boolean;
}

export function joining(base: { request: 'attach' | 'exec' }, stdio: Stdio, tty: boolean): Joined {
  const { stdin, stdout, stderr } = stdio;
  const ownsInput = tty && stdin !== undefined;
  const [theirs, input] = ownsInput ? pipe() : [stdin, undefined];
  const streams = [theirs, stdout, tty ? undefined : stderr];
  return {
    request: {
      ...base,
      stdin: streams[0] !== undefined,
      stdout: streams[1] !== undefined,
      stderr: streams[2] !== undefined,
    },
    fds: streams.filter((fd) => fd !== undefined),
    closing: ownsInput ? [theirs!] : [],
    exec: base.request === 'exec',
    ...(input === undefined ? {} : { input }),
  };
}

/** Waits on a connection whose first request, `joined`, has been sent. */
export function openSession(connection: number, joined: Joined, stdio: Stdio, witness: Witness): Session {
  const started = Promise.withResolvers<{ pid: number }>();
  let open = true;
  const finish = () => {
    if (open) close(connection);
    open = false;
  };
  const request = (body: object): Promise<void> => {
    // A program that has ended takes no signals, which is nobody's mistake.
    if (open) send(connection, body);
    return Promise.resolve();
  };
  const ended = pump(
    {
      connection,
      terminal: joined.input !== undefined,
      ...(joined.input === undefined ? {} : { stdin: joined.input, input: stdio.stdin! }),
      ...(stdio.detachKeys === undefined ? {} : { detachKeys: stdio.detachKeys }),
    },
    (event) => {
      if (event.event !== 'started' || isOfExec(event) !== joined.exec) return;
      witness.started(event.pid);
      started.resolve({ pid: event.pid });
    },
  );
  const exited = ended.then((event) => settle(event, witness)).finally(finish);
  exited.catch((error: unknown) => started.reject(error));
  // Whoever waits for the end only must not be told of an unhandled start.
  started.promise.catch(() => {});
  return {
    started: started.promise,
    exited,
    kill: (signal) => request({ request: 'signal', signal: signalNumber(signal) }),
    resize: (columns, rows) => request({ request: 'resize', columns, rows }),
    close: finish,
  };
}

async function settle(event: PumpEnd, witness: Witness): Promise<ExitStatus> {
  switch (event.event) {
    case 'exited':
      return witness.ended(exitStatus(event));
    case 'failed':
      return witness.failed(startErrorFrom(event));
    case 'lost':
      return witness.failed(new MonitorLostError());
    case 'detached':
    case 'closed':
    case 'ended':
      return { exitCode: 0, oomKilled: false, finishedAt: '', detached: true };
  }
}
