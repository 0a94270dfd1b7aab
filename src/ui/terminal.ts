// The user's terminal: whether there is one, its size, and raw mode that is undone whatever happens.
// Node's tty module costs more than a millisecond to load, so it is asked only of character devices.
import { fstatSync } from 'node:fs';
import type { ReadStream, WriteStream } from 'node:tty';

const tty = () => process.getBuiltinModule('node:tty');

export function isTerminal(descriptor: number): boolean {
  try {
    return fstatSync(descriptor).isCharacterDevice() && tty().isatty(descriptor);
  } catch {
    return false; // closed
  }
}

export interface WindowSize {
  columns: number;
  rows: number;
}

/**
 * A user's terminal while a program in a container has it. To be made before the engine is given the descriptors:
 * libuv opens a terminal anew and puts that in the descriptor's place, which would cut off whoever polls the old one.
 */
export class Terminal {
  readonly #output: WriteStream | undefined;
  readonly #input: ReadStream | undefined;
  #raw = false;
  #resized: (() => void) | undefined;

  constructor() {
    if (isTerminal(1)) this.#output = process.stdout as WriteStream;
    if (isTerminal(0)) {
      this.#input = process.stdin as ReadStream;
      // Node must not read: what is typed is the program's.
      this.#input.pause();
      this.#input.unref();
    }
  }

  /** Undefined where standard output is no terminal. */
  get size(): WindowSize | undefined {
    if (!this.#output) return undefined;
    const [columns, rows] = this.#output.getWindowSize();
    return columns > 0 && rows > 0 ? { columns, rows } : undefined;
  }

  /** Keys go to the program as they are typed, ctrl-c too. Does nothing where standard input is no terminal. */
  enterRawMode(): void {
    if (!this.#input) return;
    this.#input.setRawMode(true);
    this.#raw = true;
    process.once('exit', this.#restore);
  }

  /** Calls at each change of the window. */
  onResize(changed: (size: WindowSize) => void): void {
    this.#resized = () => {
      const size = this.size;
      if (size) changed(size);
    };
    process.on('SIGWINCH', this.#resized);
  }

  /** As it was before. May be called twice. */
  leave(): void {
    this.#restore();
    process.off('exit', this.#restore);
    if (this.#resized) process.off('SIGWINCH', this.#resized);
    this.#resized = undefined;
  }

  readonly #restore = () => {
    if (this.#raw) this.#input?.setRawMode(false);
    this.#raw = false;
  };
}
