// One engine: a root, a run root, and what lives in them. There is no daemon: two Engine objects, in one process or in two,
// over the same directories are the same engine. Where the directories are by default is the faces' business.

import { Containers } from './containers/containers.ts';
import { Events } from './events.ts';
import { Images } from './images.ts';
import { Volumes } from './volumes.ts';

export interface EngineOptions {
  /** What stays: images, containers, volumes. `/var/lib/kapsel` as root, `$XDG_DATA_HOME/kapsel` otherwise. */
  root?: string;
  /** What a reboot may take. `/run/kapsel` as root, `$XDG_RUNTIME_DIR/kapsel` otherwise. */
  runRoot?: string;
  /** The cgroup under which containers get theirs; `/kapsel` unless told. */
  cgroupParent?: string;
  /** Registries spoken to without a trusted certificate: `host[:port]`. */
  insecureRegistries?: readonly string[];
}

export class Engine implements AsyncDisposable {
  readonly root: string;
  readonly runRoot: string;
  readonly cgroupParent: string;
  readonly containers: Containers;
  readonly images: Images;
  readonly volumes: Volumes;
  readonly events: Events;

  constructor(options: EngineOptions = {}) {
    this.root = options.root ?? '/var/lib/kapsel';
    this.runRoot = options.runRoot ?? '/run/kapsel';
    this.cgroupParent = options.cgroupParent ?? '/kapsel';
    this.containers = new Containers(this);
    this.images = new Images({ root: this.root, insecureRegistries: options.insecureRegistries });
    this.volumes = new Volumes(this);
    this.events = new Events(this);
  }

  /** Counts, directories, and what this kernel and user can do; Docker's names where it has them. */
  info(): Promise<Record<string, unknown>> {
    return Promise.reject(new Error('not written yet'));
  }

  version(): Promise<{ kapsel: string; runtime: string; node: string; kernel: string; platform: string }> {
    return Promise.reject(new Error('not written yet'));
  }

  /** Lets go of the database and of every connection. Containers run on. */
  async close(): Promise<void> {}

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}
