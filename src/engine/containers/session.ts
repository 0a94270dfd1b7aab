// Programs whose streams are this process's own descriptors: the fast path of `kapsel run`, `exec`, `attach`. The addon's
// pump copies, on a thread of its own; no stream of Node's is made.

import { close, pump, send, type PumpEnd } from '../../native.ts';
import { type KapselError, startErrorFrom } from '../errors.ts';
import { answerTime, exitStatus, isOfExec, MonitorLostError, MonitorUnresponsiveError } from './exit.ts';
import { signalNumber } from './notation/quantities.ts';
import type { ExitStatus, Session, Stdio } from './options.ts';
import { closePipes, openPipes, type Pipes } from './pipes.ts';

/** That a program runs. */
export interface Start {
  /** Its id on the host. */
  pid: number;
  /** RFC 3339, by the monitor's clock, as the time of its end is. */
  startedAt: string;
  /** The packet filter had to be made anew: what other containers had in it is missing. */
  filterMade?: boolean;
}

/** Who is told what becomes of the program, before the session's promises settle. */
export interface Witness {
  /** When nobody reads its output any more, it is to end, as SIGPIPE ends a program in a pipeline; otherwise it goes on. */
  readonly endsUnread: boolean;
  started(start: Start): void;
  ended(status: ExitStatus): Promise<ExitStatus>;
  /** Throws, or says how it ended after all. */
  failed(error: KapselError): Promise<ExitStatus>;
}

/** For whoever only looks on. */
export const bystander: Witness = {
  endsUnread: false,
  started: () => {},
  ended: (status) => Promise.resolve(status),
  failed: (error) => Promise.reject(error),
};

/** A request that joins descriptors by way of pipes of ours. */
export interface Joined extends Pipes {
  exec: boolean;
  tty: boolean;
}

export function joining(base: { request: 'attach' | 'exec' }, stdio: Stdio, tty: boolean): Joined {
  const wanted = {
    stdin: stdio.stdin !== undefined,
    stdout: stdio.stdout !== undefined,
    stderr: stdio.stderr !== undefined && !tty,
  };
  return { ...openPipes(base, wanted), exec: base.request === 'exec', tty };
}

/** Sends the request on a connection to a monitor that runs already. */
export function join(connection: number, joined: Joined): void {
  try {
    send(connection, joined.request, joined.fds);
  } catch (error) {
    closePipes(joined);
    close(connection);
    throw error;
  } finally {
    for (const fd of joined.closing) close(fd);
  }
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
      terminal: joined.tty,
      stdin: joined.stdin,
      stdout: joined.stdout,
      stderr: joined.stderr,
      input: stdio.stdin,
      output: stdio.stdout,
      errorOutput: stdio.stderr,
      detachKeys: stdio.detachKeys,
    },
    (event) => {
      if (event.event !== 'started' || isOfExec(event) !== joined.exec) return;
      witness.started(event);
      started.resolve({ pid: event.pid });
    },
  );
  const exited = ended
    .then((event) => {
      if (event.event !== 'closed' || !witness.endsUnread) return event;
      send(connection, { request: 'signal', signal: signalNumber('SIGKILL') });
      return pump({ connection, terminal: false });
    })
    .then((event) => settle(event, witness))
    .finally(finish);
  // Whoever has let go by then is not told any more.
  exited.then(
    () => started.resolve({ pid: 0 }),
    (error: unknown) => started.reject(error),
  );
  const late = setTimeout(() => joined.exec && started.reject(new MonitorUnresponsiveError()), answerTime);
  const inTime = () => clearTimeout(late);
  started.promise.then(inTime, inTime);
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
