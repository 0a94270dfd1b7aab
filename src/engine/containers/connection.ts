// The engine's end of a monitor's connection (ARCHITECTURE.md, "The connection") as promises: requests and their answers,
// how the program started, how it ended. Reads by Node's event loop; descriptors travel through the addon.

import { Socket } from 'node:net';

import { close, sendSome, type MonitorEvent, type MonitorReply } from '../../native.ts';
import { ConflictError, errorFrom, startErrorFrom } from '../errors.ts';
import { answerTime, exitStatus, isOfExec, MonitorLostError, MonitorUnresponsiveError } from './exit.ts';
import type { StreamRequest } from './monitor.ts';
import type { ExitStatus } from './options.ts';
import type { Start } from './session.ts';

/** That a request has been carried out. */
type Reply = Extract<MonitorReply, { reply: 'ok' }>;

export class Connection {
  /** Rejects with a ContainerStartError, or MonitorLostError. */
  readonly started: Promise<Start>;
  /** Rejects as `started` does. */
  readonly exited: Promise<ExitStatus>;
  readonly #fd: number;
  readonly #exec: boolean;
  readonly #socket: Socket;
  readonly #start = Promise.withResolvers<Start>();
  readonly #end = Promise.withResolvers<ExitStatus>();
  /** Requests that have no answer yet: answers come in their order. */
  readonly #asked: PromiseWithResolvers<Reply>[] = [];
  #partial = '';

  /**
   * Takes the descriptor over. `unanswered`: how many requests have been sent on it already, whose answers nobody awaits.
   * `exec`: it is about a program beside the container's first, whose own start is not of interest.
   */
  constructor(fd: number, { unanswered = 0, exec = false } = {}) {
    this.#fd = fd;
    this.#exec = exec;
    this.started = this.#start.promise;
    this.exited = this.#end.promise;
    // A caller may look at one of the two only, or at neither.
    this.started.catch(() => {});
    this.exited.catch(() => {});
    for (let count = 0; count < unanswered; count++) this.#expect().catch((error: Error) => this.#fail(error));
    if (exec) {
      const late = setTimeout(() => this.#fail(new MonitorUnresponsiveError()), answerTime);
      const inTime = () => clearTimeout(late);
      this.started.then(inTime, inTime);
    }
    this.#socket = new Socket({ fd, readable: true, writable: true });
    this.#socket.setEncoding('utf8');
    this.#socket.on('data', (text: unknown) => this.#receive(text as string));
    this.#socket.on('error', () => {});
    this.#socket.on('close', () => this.#fail(new MonitorLostError()));
  }

  /** Sends a request; resolves when the monitor has carried it out. `patience`: milliseconds that it may take. */
  async request(request: object, patience = answerTime): Promise<void> {
    await this.ask(request, patience);
  }

  /** As `request`; resolves to what the monitor says. */
  ask(request: object, patience = answerTime): Promise<Reply> {
    const answer = this.#expect();
    try {
      this.send({ request, fds: [], closing: [] });
    } catch (error) {
      this.#asked.pop()!.reject(error);
    }
    if (patience === Infinity) return answer;
    const late = setTimeout(() => this.#fail(new MonitorUnresponsiveError()), patience);
    return answer.finally(() => clearTimeout(late));
  }

  /** Sends a request that is answered by events. */
  send({ request, fds, closing }: StreamRequest): void {
    try {
      if (this.#socket.destroyed) throw new MonitorLostError();
      const rest = sendSome(this.#fd, request, [...fds]);
      // A monitor that is stopped does not read, and must not stop this process's event loop too.
      if (rest !== undefined) this.#socket.write(rest);
    } finally {
      for (const fd of closing) close(fd);
    }
  }

  /** Waiting for what comes on it keeps the process alive no longer. */
  unref(): void {
    this.#socket.unref();
  }

  /** Lets go; what has not settled by then rejects with `DETACHED`. */
  close(): void {
    this.#fail(new ConflictError('DETACHED', 'the connection to the program was closed; it runs on'));
    this.#socket.destroy();
  }

  #expect(): Promise<Reply> {
    const answer = Promise.withResolvers<Reply>();
    this.#asked.push(answer);
    answer.promise.catch(() => {});
    return answer.promise;
  }

  #receive(text: string): void {
    const lines = (this.#partial + text).split('\n');
    this.#partial = lines.pop()!;
    for (const line of lines) this.#take(JSON.parse(line) as MonitorEvent | MonitorReply);
  }

  #take(message: MonitorEvent | MonitorReply): void {
    if ('reply' in message) {
      const answer = this.#asked.shift();
      if (message.reply === 'ok') answer?.resolve(message);
      else answer?.reject(errorFrom(message));
      return;
    }
    if (this.#exec && !isOfExec(message)) return;
    switch (message.event) {
      case 'started':
        this.#start.resolve(message);
        break;
      case 'failed':
        this.#fail(startErrorFrom(message));
        break;
      case 'exited':
        this.#end.resolve(exitStatus(message));
        break;
    }
  }

  #fail(error: Error): void {
    this.#start.reject(error);
    this.#end.reject(error);
    for (const answer of this.#asked.splice(0)) answer.reject(error);
  }
}
