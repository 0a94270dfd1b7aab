// One engine: a root, a run root, and what lives in them. There is no daemon: two Engine objects, in one process or in two,
// over the same directories are the same engine. What the environment says of the directories is the faces' business.

import { mkdirSync } from 'node:fs';

import { Database } from '../native.ts';
import { Containers } from './containers/containers.ts';
import { Spares } from './containers/spares.ts';
import { diskError } from './disk.ts';
import { InvalidArgumentError, StorageError } from './errors.ts';
import { Events } from './events.ts';
import { Images } from './images.ts';
import { describeEngine, type EngineInfo, type EngineVersion, version } from './info.ts';
import { Networks } from './networks.ts';
import { parseAddress } from './networks/addresses.ts';
import { System } from './system.ts';
import { Registries } from './registries.ts';
import { Volumes } from './volumes.ts';

export interface EngineOptions {
  /** What stays: images, containers, volumes. `/var/lib/kapsel` as root, `$XDG_DATA_HOME/kapsel` otherwise. */
  root?: string;
  /** What a reboot may take. `/run/kapsel` as root, `$XDG_RUNTIME_DIR/kapsel` otherwise. */
  runRoot?: string;
  /** The cgroup under which containers get theirs; `/kapsel` unless told. */
  cgroupParent?: string;
  /** The network of containers that name none: `bridge` unless told; `none`, `host`, or a network's name. */
  defaultNetwork?: string;
  /** The host's address for published ports that name none; every one unless told. */
  publishDefault?: string;
  /**
   * How many monitors wait for containers to come, each with what such a container as the last one needs: a start takes one
   * and is sooner by some milliseconds, another takes its place. A megabyte each; none unless told, at most 100.
   */
  spares?: number;
  /** Registries spoken to without a trusted certificate: `host[:port]`. */
  insecureRegistries?: readonly string[];
}

export class Engine implements AsyncDisposable {
  readonly root: string;
  readonly runRoot: string;
  readonly cgroupParent: string;
  readonly defaultNetwork: string;
  readonly publishDefault: string | undefined;
  readonly insecureRegistries: readonly string[];
  readonly containers: Containers;
  /** For the engine's own rooms. */
  readonly spares: Spares;
  readonly images: Images;
  readonly networks: Networks;
  readonly volumes: Volumes;
  readonly registries: Registries;
  readonly events: Events;
  readonly system: System;
  #database: Database | undefined;
  readonly #closers = new Set<() => void>();

  constructor(options: EngineOptions = {}) {
    const usual = options.root === undefined || options.runRoot === undefined ? usualDirectories() : undefined;
    this.root = options.root ?? usual!.root;
    this.runRoot = options.runRoot ?? usual!.runRoot;
    this.cgroupParent = options.cgroupParent ?? '/kapsel';
    this.defaultNetwork = options.defaultNetwork ?? 'bridge';
    this.publishDefault = hostAddress(options.publishDefault);
    this.insecureRegistries = options.insecureRegistries ?? [];
    this.containers = new Containers(this);
    this.spares = new Spares(this, options.spares);
    this.images = new Images(this);
    this.networks = new Networks(this);
    this.volumes = new Volumes(this);
    this.registries = new Registries({ insecure: this.insecureRegistries });
    this.events = new Events(this);
    this.system = new System(this);
  }

  /** The state, opened at the first use. For the engine's own rooms. */
  get database(): Database {
    this.#database ??= this.#open();
    return this.#database;
  }

  /** Counts, directories, and what this kernel and user can do. */
  info(): Promise<EngineInfo> {
    return describeEngine(this);
  }

  version(): EngineVersion {
    return version();
  }

  /** For the engine's own rooms: what else `close` is to let go of. Returns how to take that back. */
  onClose(closer: () => void): () => void {
    this.#closers.add(closer);
    return () => this.#closers.delete(closer);
  }

  /** Lets go of the database, of every connection and of what waits for containers. Containers run on. */
  close(): Promise<void> {
    const dismissed = this.spares.close();
    for (const closer of this.#closers) closer();
    this.#closers.clear();
    this.images.close();
    this.#database?.close();
    this.#database = undefined;
    return dismissed;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #open(): Database {
    const path = `${this.root}/kapsel.db`;
    // Others may pass through to reach what is theirs (a container's root in a user namespace), and see no names.
    try {
      mkdirSync(this.root, { recursive: true, mode: 0o711 });
      for (const directory of ['containers', 'layers', 'volumes', 'cache', 'tmp']) {
        mkdirSync(`${this.root}/${directory}`, { recursive: true, mode: 0o711 });
      }
      mkdirSync(`${this.runRoot}/containers`, { recursive: true, mode: 0o700 });
    } catch (error) {
      throw inTheWay(error) ?? diskError(error);
    }
    return new Database(path);
  }
}

/** Something of the user's is where a directory of the engine's should be. */
function inTheWay(error: unknown): StorageError | undefined {
  const { code = '', path } = error as NodeJS.ErrnoException;
  if (code !== 'EEXIST' && code !== 'ENOTDIR') return undefined;
  return new StorageError('STORAGE_REFUSED', `${path} cannot be made: it, or a part of its path, is no directory`, {
    exitCode: 125,
    hint: 'give another --root or --run-root',
    cause: error,
  });
}

function hostAddress(given: string | undefined): string | undefined {
  if (given === undefined || parseAddress(given)) return given;
  throw new InvalidArgumentError(
    'ADDRESS_INVALID',
    `invalid address '${given}' for published ports: give an IP address`,
  );
}

function usualDirectories(): { root: string; runRoot: string } {
  const uid = process.geteuid!();
  if (uid === 0) return { root: '/var/lib/kapsel', runRoot: '/run/kapsel' };
  const { HOME = '/', XDG_DATA_HOME, XDG_RUNTIME_DIR } = process.env;
  return {
    root: `${XDG_DATA_HOME || `${HOME}/.local/share`}/kapsel`,
    // Without a login session there is no runtime directory; the sticky /tmp keeps others from this one.
    runRoot: XDG_RUNTIME_DIR ? `${XDG_RUNTIME_DIR}/kapsel` : `/tmp/kapsel-${uid}`,
  };
}
