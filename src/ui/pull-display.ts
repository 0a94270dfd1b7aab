// What people see of a pull or a load, on standard error: a line per layer that moves on a terminal (listr2, loaded
// only then), a plain line per change elsewhere. Standard output stays the command's result.
import type { LayerPhase, LayerProgress } from '../engine/images.ts';
import { say } from './output.ts';
import { isTerminal } from './terminal.ts';
import { humanSize } from './units.ts';

export interface PullDisplayOptions {
  /** What is being fetched, for the heading. */
  heading: string;
  quiet?: boolean | undefined;
}

const words: Record<LayerPhase, string> = {
  waiting: 'Waiting',
  exists: 'Already exists',
  'waiting-other': 'Waiting for another kapsel that pulls it',
  downloading: 'Downloading',
  done: 'Pull complete',
  pushing: 'Pushing',
  pushed: 'Pushed',
  mounted: 'Mounted from another repository',
};

/** Bytes move ten times a second at most: each redraw of listr2 costs half a millisecond. */
const redrawMilliseconds = 100;

export class PullDisplay {
  readonly #options: PullDisplayOptions;
  readonly #layers = new Map<string, LayerProgress>();
  #live: Promise<void> | undefined;
  #finish: (outcome: 'done' | 'failed') => void = () => {};
  readonly #finished = new Promise<'done' | 'failed'>((resolve) => (this.#finish = resolve));

  constructor(options: PullDisplayOptions) {
    this.#options = options;
  }

  /** Given to the engine as `onProgress`. */
  readonly update = (progress: LayerProgress): void => {
    if (this.#options.quiet) return;
    const first = this.#layers.size === 0;
    const before = this.#layers.get(progress.layer);
    this.#layers.set(progress.layer, progress);
    if (isTerminal(2)) {
      this.#live ??= this.#draw();
      return;
    }
    if (first) say(this.#options.heading);
    if (before?.phase !== progress.phase) say(`${shortDigest(progress.layer)}: ${words[progress.phase]}`);
  };

  /** Takes down what moves and leaves the last state on the screen. May be called twice: the first call counts. */
  async end(outcome: 'done' | 'failed' = 'done'): Promise<void> {
    this.#finish(outcome);
    await this.#live;
  }

  async #draw(): Promise<void> {
    const { Listr, ListrLogger, ProcessOutput } = await import('listr2');
    // listr2 looks at stdout for a terminal; both of its streams are stderr here.
    const logger = new ListrLogger({ processOutput: new ProcessOutput(process.stderr, process.stderr) });
    const list = new Listr(
      [
        {
          title: this.#options.heading,
          // The bar shows the last thing written to it: all layers in one.
          rendererOptions: { outputBar: true, persistentOutput: true },
          task: async (_context, task) => {
            const show = () => (task.output = this.#lines());
            const timer = setInterval(show, redrawMilliseconds);
            try {
              const outcome = await this.#finished;
              show();
              if (outcome === 'failed') throw new Error(this.#options.heading);
            } finally {
              clearInterval(timer);
            }
          },
        },
      ],
      {
        exitOnError: false,
        forceTTY: true, // it asks stdout, which may be a file while stderr is a terminal
        registerSignalListeners: false, // its own handler exits with 127
        renderer: 'default',
        rendererOptions: { formatOutput: 'truncate', logger: logger as never, showErrorMessage: false },
      },
    );
    await list.run();
  }

  #lines(): string {
    return [...this.#layers.values()].map(layerLine).join('\n');
  }
}

/** `a3ed95caeb02 Downloading  12.3MB/45MB`; the registry does not always tell the total. */
export function layerLine({ layer, phase, bytes, total }: LayerProgress): string {
  const line = `${shortDigest(layer)} ${words[phase]}`;
  if (phase !== 'downloading' && phase !== 'pushing') return line;
  if (total === undefined) return `${line}  ${humanSize(bytes)}`;
  const part = total === 0 ? 1 : Math.min(1, bytes / total);
  const filled = Math.floor(part * 20);
  return `${line} [${'='.repeat(filled)}${filled < 20 ? '>' : ''}${' '.repeat(Math.max(0, 19 - filled))}]  ${humanSize(bytes)}/${humanSize(total)}`;
}

function shortDigest(digest: string): string {
  return digest.replace(/^sha256:/, '').slice(0, 12);
}
