// A terminal for tests: script(1) of bsdutils, which every Debian has, makes the pty and gives back the exit code.
import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout } from 'node:timers/promises';

export class Pty {
  readonly exited: Promise<number>;
  readonly #child: ChildProcess;
  #output = '';

  /** What `stty` had of the terminal before the command was started. */
  before = '';

  /** Runs a shell command on a terminal of 80 by 24 of its own. */
  static async open(command: string, environment: Record<string, string> = {}): Promise<Pty> {
    const pty = new Pty(command, environment);
    pty.before = await pty.settings();
    pty.type('\r');
    return pty;
  }

  private constructor(command: string, environment: Record<string, string> = {}) {
    const line = `echo "<$(tty)>"; stty rows 24 cols 80; read -r _; ${command}`;
    this.#child = spawn('script', ['-qfec', line, '/dev/null'], {
      env: { ...process.env, SHELL: '/bin/bash', TERM: 'xterm', ...environment },
      stdio: ['pipe', 'pipe', 'inherit'],
    });
    this.#child.stdout!.setEncoding('utf8').on('data', (text: string) => (this.#output += text));
    this.exited = new Promise((resolve) => this.#child.once('close', (code) => resolve(code ?? -1)));
  }

  /** The process on this terminal that has this word in its command line: the last of its line of children. */
  descendant(word: string): number {
    let found = 0;
    const look = (pid: string) => {
      if (readFileSync(`/proc/${pid}/cmdline`, 'utf8').split('\0').includes(word)) found = Number(pid);
      const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8');
      for (const child of children.split(' ').filter(Boolean)) look(child);
    };
    look(String(this.#child.pid));
    return found;
  }

  /** Everything that has been shown, control characters and all. */
  get output(): string {
    return this.#output;
  }

  type(text: string): void {
    this.#child.stdin!.write(text);
  }

  /** Waits until it is shown; the error says what was shown instead. */
  async shows(pattern: RegExp, seconds = 15): Promise<RegExpExecArray> {
    for (let waited = 0; waited < seconds * 50; waited++) {
      const found = pattern.exec(this.#output);
      if (found) return found;
      if (this.#child.exitCode !== null) break;
      await setTimeout(20);
    }
    const found = pattern.exec(this.#output);
    if (found) return found;
    throw new Error(`${pattern} was not shown, but ${JSON.stringify(this.#output)}`);
  }

  /** Another size of the window, of which the foreground is told by SIGWINCH. */
  async resize(columns: number, rows: number): Promise<void> {
    spawnSync('stty', ['-F', await this.path(), 'cols', String(columns), 'rows', String(rows)]);
  }

  /** The terminal's settings, as `stty` has them. */
  async settings(): Promise<string> {
    return spawnSync('stty', ['-F', await this.path(), '-a'], { encoding: 'utf8' }).stdout;
  }

  async path(): Promise<string> {
    return (await this.shows(/<(\/dev\/pts\/\d+)>/))[1]!;
  }

  end(): void {
    this.#child.stdin!.end();
    this.#child.kill();
  }
}
