// The containers of one engine: making, finding, listing. What one container does is container.ts's.

import type { Engine } from '../engine.ts';
import type { Container } from './container.ts';
import type { ContainerSummary, CreateOptions, ListOptions, RunOptions, RunResult, Session, Stdio } from './options.ts';

export class Containers {
  readonly #engine: Engine;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Makes a container and starts nothing. */
  async create(_image: string, _options: CreateOptions = {}): Promise<Container> {
    void this.#engine;
    throw new Error('not written yet');
  }

  /** `kapsel run -d`: makes a container and resolves when its program runs. */
  async start(_image: string, _options: CreateOptions = {}): Promise<Container> {
    throw new Error('not written yet');
  }

  /** Runs a program to its end and resolves with its exit code and output, whatever the code. */
  run(image: string, options: RunOptions & { encoding: 'buffer' }): Promise<RunResult<Buffer>>;
  run(image: string, options?: RunOptions): Promise<RunResult>;
  async run(_image: string, _options: RunOptions = {}): Promise<RunResult<string | Buffer>> {
    throw new Error('not written yet');
  }

  /** `kapsel run` in the foreground: a new container whose streams are these descriptors. */
  async runAttached(
    _image: string,
    _options: CreateOptions,
    _stdio: Stdio,
  ): Promise<Session & { container: Container }> {
    throw new Error('not written yet');
  }

  /** By id, by the beginning of one, or by name. CONTAINER_NOT_FOUND where there is none. */
  async get(_reference: string): Promise<Container> {
    throw new Error('not written yet');
  }

  /** Newest first. */
  async list(_options: ListOptions = {}): Promise<ContainerSummary[]> {
    return [];
  }
}
