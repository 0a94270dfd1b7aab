// The containers of one engine: making, running, finding, listing. What one container does is container.ts's.

import { hostname } from 'node:os';

import { diskError } from '../disk.ts';
import type { Engine } from '../engine.ts';
import { endpointsFor } from '../networks/endpoints.ts';
import { portWarnings } from '../networks/exposure.ts';
import { AbortedError, ConflictError, KapselError } from '../errors.ts';
import type { ReadyImage } from '../images.ts';
import { processorsOnline } from '../info.ts';
import { randomHex } from '../random.ts';
import { Container } from './container.ts';
import { checkGround, usualNetwork } from './ground.ts';
import { summaries } from './list.ts';
import { containerName, generatedName } from './notation/names.ts';
import type {
  ContainerSummary,
  CreateOptions,
  ListOptions,
  RestoreArchiveOptions,
  RunOptions,
  RunResult,
  Session,
  Stdio,
} from './options.ts';
import { openPipes } from './pipes.ts';
import { prepareBinds } from './prepare.ts';
import { anonymousVolumes, forget, reconcile } from './reap.ts';
import { joining, openSession } from './session.ts';
import { resolveSettings, type Settings } from './settings.ts';
import { dismiss } from './spares.ts';
import { beginWith, claimLock, letGo, Life, type Claim } from './start.ts';
import { supervision } from './supervision.ts';
import { trace } from '../trace.ts';

/** Milliseconds between two looks for the dead by a program that runs many containers. */
const tidyEvery = 1000;

export class Containers {
  readonly #engine: Engine;
  #cpus: Set<number> | undefined;
  /** When `#tidy` last looked. */
  #tidied = -Infinity;

  constructor(engine: Engine) {
    this.#engine = engine;
  }

  /** Makes a container and starts nothing. */
  async create(image: string, options: CreateOptions = {}): Promise<Container> {
    const ready = await this.#image(image, options);
    const id = randomHex(32);
    const settings = this.#settings(id, ready, options);
    prepareBinds(settings);
    const name = await this.#insert(id, ready, settings, options, 'created');
    try {
      this.#engine.volumes.prepare(settings);
    } catch (error) {
      await forget(this.#engine, id, anonymousVolumes(settings));
      throw diskError(error);
    }
    return new Container(this.#engine, id, name);
  }

  /** `kapsel run -d`: makes a container and resolves when its program runs. */
  async start(image: string, options: CreateOptions = {}): Promise<Container> {
    const { runDetached } = await supervision();
    const { claim, name } = await this.#make(image, options);
    const life = await Life.begin(this.#engine, claim);
    const tidied = this.#tidy();
    const { exited } = await runDetached(this.#engine, life);
    await tidied;
    return new Container(this.#engine, claim.id, name, exited);
  }

  /** Runs a program to its end and resolves with its exit code and output, whatever the code. */
  run(image: string, options: RunOptions & { encoding: 'buffer' }): Promise<RunResult<Buffer>>;
  run(image: string, options?: RunOptions): Promise<RunResult>;
  async run(image: string, options: RunOptions = {}): Promise<RunResult<string | Buffer>> {
    const began = performance.now();
    const { collect, Connection, defaultMaxBuffer, feed, maxBufferExceeded, Stopper, witnessed } = await supervision();
    const warnings: string[] = [];
    const { claim } = await this.#make(image, {
      rm: true,
      ...options,
      interactive: options.interactive ?? options.input !== undefined,
      onWarning: (message) => {
        warnings.push(message);
        options.onWarning?.(message);
      },
    });
    const { tty, interactive } = claim.settings;
    const pipes = openPipes({ request: 'attach' }, { stdin: interactive, stdout: true, stderr: !tty });
    const life = await beginWith(this.#engine, claim, pipes);
    const tidied = this.#tidy();
    const connection = new Connection(life.connection, { unanswered: 1 });
    const { timeout } = options;
    const stop = new Stopper(
      connection,
      options.signal,
      timeout === undefined ? undefined : { seconds: timeout, error: timedOut(timeout) },
    );
    const most = options.maxBuffer ?? defaultMaxBuffer;
    const overflow = () => stop.now(maxBufferExceeded(most));
    try {
      if (pipes.stdin !== undefined) feed(pipes.stdin, options.input ?? '');
      const { exited } = witnessed(connection, life);
      const [stdout, stderr, status] = await Promise.all([
        collect(pipes.stdout!, most, overflow),
        pipes.stderr === undefined ? Buffer.alloc(0) : collect(pipes.stderr, most, overflow),
        exited,
      ]);
      stop.check();
      await tidied;
      const decode = (bytes: Buffer) => (options.encoding === 'buffer' ? bytes : bytes.toString('utf8'));
      return {
        ...status,
        id: claim.id,
        stdout: decode(stdout),
        stderr: decode(stderr),
        duration: performance.now() - began,
        warnings,
      };
    } catch (error) {
      // A program that was ended before it had started could not start for that reason.
      stop.check();
      throw error;
    } finally {
      stop.release();
      connection.close();
    }
  }

  /** `kapsel run` in the foreground: a new container whose streams are these descriptors. */
  async runAttached(image: string, options: CreateOptions, stdio: Stdio): Promise<Session & { container: Container }> {
    const { claim, name } = await this.#make(image, options);
    const joined = joining({ request: 'attach' }, stdio, claim.settings.tty);
    const life = await beginWith(this.#engine, claim, joined);
    const session = openSession(life.connection, joined, stdio, life);
    const tidied = this.#tidy();
    const exited = session.exited.finally(() => tidied);
    exited.catch(() => {});
    return { ...session, exited, container: new Container(this.#engine, claim.id, name) };
  }

  /** A container that was exported by a checkpoint, here or elsewhere; resolves when its program runs again. */
  async restore(archive: string, options: RestoreArchiveOptions = {}): Promise<Container> {
    const { restoreArchive } = await import('./restore.ts');
    const { id, name, exited } = await restoreArchive(this.#engine, archive, options);
    return new Container(this.#engine, id, name, exited);
  }

  /** By id, by the beginning of one, or by name. CONTAINER_NOT_FOUND where there is none. */
  async get(reference: string): Promise<Container> {
    await reconcile(this.#engine);
    const row = this.#engine.database.container(reference.replace(/^\//, ''));
    return new Container(this.#engine, row.id, row.name);
  }

  /** Newest first; those that run, unless told otherwise. */
  async list(options: ListOptions = {}): Promise<ContainerSummary[]> {
    await reconcile(this.#engine);
    const { database } = this.#engine;
    const named = new Map(database.networks().map(({ id, name }) => [id, name]));
    const networks = (id: string) =>
      database.endpointsOfContainer(id).map(({ networkId }) => named.get(networkId) ?? networkId);
    return summaries(database.containers(), { ports: (id) => database.ports(id), networks }, options);
  }

  /**
   * Cleans up after the dead, while the container that was asked for is starting: it costs nobody anything where there
   * are none. What fails here the next command tries again.
   */
  async #tidy(): Promise<void> {
    if (performance.now() - this.#tidied < tidyEvery) return;
    this.#tidied = performance.now();
    await reconcile(this.#engine).catch(() => {});
  }

  #image(reference: string, { pull, platform, access, signal, onProgress }: CreateOptions): Promise<ReadyImage> {
    if (signal?.aborted) return Promise.reject(new AbortedError());
    return this.#engine.images.ensure(reference, { ...access, pull, platform, signal, onProgress });
  }

  /** A container on its way to its first start: its row is there, and its lock held. */
  async #make(image: string, options: CreateOptions): Promise<{ claim: Claim; name: string }> {
    trace('asked');
    const ready = await this.#image(image, options);
    trace('image found');
    if (options.signal?.aborted) throw new AbortedError();
    const id = randomHex(32);
    const settings = this.#settings(id, ready, options);
    const spare = this.#engine.spares.take(id, settings);
    const { paths, lock } = spare ?? claimLock(this.#engine, id);
    try {
      const name = await this.#insert(id, ready, settings, options, 'starting');
      return { claim: { id, name, paths, settings, layers: ready.layers, lock, spare }, name };
    } catch (error) {
      if (spare === undefined) letGo(paths, lock);
      else void dismiss(spare);
      throw error;
    }
  }

  #settings(id: string, image: ReadyImage, options: CreateOptions): Settings {
    this.#cpus ??= processorsOnline();
    const usual = usualNetwork(this.#engine.defaultNetwork);
    const settings = resolveSettings(id, image.config.config ?? {}, options, {
      cgroupParent: this.#engine.cgroupParent,
      defaultNetwork: usual.network,
      hostname: hostname(),
      cpus: this.#cpus,
    });
    const isUsual = options.network === undefined && settings.network === usual.network;
    const networks = () => settings.networks.map(({ network }) => this.#engine.networks.row(network));
    const warnings = [...checkGround(settings), ...(isUsual ? usual.warnings : [])];
    for (const warning of [...warnings, ...portWarnings(this.#engine, settings, networks)]) {
      options.onWarning?.(warning);
    }
    return {
      ...settings,
      mounts: settings.mounts.map((mount) =>
        mount.type === 'volume' && mount.anonymous ? { ...mount, source: randomHex(32) } : mount,
      ),
    };
  }

  /** Adds the row under the name asked for, or one that nobody has; resolves to the name. */
  async #insert(
    id: string,
    image: ReadyImage,
    settings: Settings,
    options: CreateOptions,
    status: 'created' | 'starting',
  ): Promise<string> {
    const given = options.name === undefined ? undefined : containerName(options.name);
    for (let attempt = 0; ; attempt++) {
      const name = given ?? generatedName(attempt);
      try {
        this.#engine.database.insertContainer({
          id,
          name,
          status,
          imageId: image.id,
          image: image.reference,
          autoRemove: settings.rm,
          labels: { ...image.config.config?.Labels, ...options.labels },
          networks: endpointsFor(this.#engine, settings.networks),
          document: settings,
        });
        return name;
      } catch (error) {
        if (!(error instanceof ConflictError) || error.code !== 'NAME_IN_USE') throw error;
        // Its owner may be of --rm and dead. A second time it is alive.
        if (given !== undefined && attempt > 0) throw error;
        await reconcile(this.#engine);
      }
    }
  }
}

function timedOut(seconds: number): KapselError {
  return new KapselError('TIMED_OUT', `the container did not end within ${seconds} s`, { exitCode: 124 });
}
