// The database of one engine, typed: what crates/state does, with rows as objects and failures as classes.

import { load, unwrap } from './load.ts';
import type { NativeDatabase } from './addon.ts';
import type {
  AddressWanted,
  ContainerFilter,
  ContainerRow,
  EndpointRow,
  EventFilter,
  EventRow,
  Exit,
  ImageRow,
  LayerRow,
  LayerSource,
  Leased,
  NetworkRow,
  NewContainer,
  NewEndpoint,
  NewEvent,
  NewImage,
  NewNetwork,
  NewVolume,
  PortRow,
  PortWanted,
  Reconciled,
  VolumeRow,
} from './rows.ts';

/**
 * The state of one engine. Its calls are synchronous: each takes tens of microseconds, a wait for another writer
 * included at most ten seconds. Every change appends its event in the same transaction. Times are RFC 3339, UTC,
 * with nanoseconds. A reference is a full id, a name, or an unambiguous prefix of an id, in this order.
 */
export class Database {
  readonly #native: NativeDatabase;

  /** Opens, and where there is none makes, the database at this path; its directory must exist. */
  constructor(path: string) {
    this.#native = unwrap(load().addon.openDatabase(path));
  }

  /** Not needed before the process ends. */
  close(): void {
    this.#native.close();
  }

  /** A new container, `created` or at once `starting`. Event `create`. Throws NAME_IN_USE, IMAGE_NOT_FOUND. */
  insertContainer(container: NewContainer): void {
    unwrap(this.#native.insertContainer(JSON.stringify(container)));
  }

  /** Throws CONTAINER_NOT_FOUND, CONTAINER_AMBIGUOUS. */
  container(reference: string): ContainerRow {
    return JSON.parse(unwrap(this.#native.container(reference))) as ContainerRow;
  }

  /** Newest first. */
  containers(filter: ContainerFilter = {}): ContainerRow[] {
    return JSON.parse(unwrap(this.#native.containers(JSON.stringify(filter)))) as ContainerRow[];
  }

  /** `created` or `exited` → `starting`; the caller holds the lock. Throws CONTAINER_CONFLICT otherwise. */
  starting(id: string): void {
    unwrap(this.#native.starting(id));
  }

  /** `starting` → `running`. Event `start`. False where the container has already ended. */
  started(id: string, pid: number, at: string): boolean {
    return unwrap(this.#native.started(id, pid, at));
  }

  /** `running` → `paused`. Event `pause`. */
  paused(id: string): void {
    unwrap(this.#native.paused(id));
  }

  /** `paused` → `running`. Event `unpause`. */
  unpaused(id: string): void {
    unwrap(this.#native.unpaused(id));
  }

  /** Any living status → `exited`. Event `die`. False where somebody else has recorded it. */
  exited(id: string, exit: Exit): boolean {
    return unwrap(this.#native.exited(id, JSON.stringify(exit)));
  }

  /** Event `rename`. Throws NAME_IN_USE. */
  rename(id: string, name: string): void {
    unwrap(this.#native.rename(id, name));
  }

  /** Event `update`. */
  updateDocument(id: string, document: unknown): void {
    unwrap(this.#native.updateDocument(id, JSON.stringify(document)));
  }

  /**
   * Forgets a container that is not alive (CONTAINER_CONFLICT). Event `destroy`. Returns the layers nobody uses any
   * more, which are forgotten too: their trees are the caller's to remove.
   */
  removeContainer(id: string): string[] {
    return JSON.parse(unwrap(this.#native.removeContainer(id))) as string[];
  }

  /**
   * Records an image whose layers are all recorded (LAYER_NOT_FOUND), and points its references at it, taking them
   * from whichever image had them. Of an image that is here, only the manifest is replaced. Event `pull`, `load`,
   * `import` or `commit`.
   */
  insertImage(image: NewImage, action: 'pull' | 'load' | 'import' | 'commit' = 'pull'): void {
    unwrap(this.#native.insertImage(JSON.stringify(image), action));
  }

  /** By reference, id, or prefix of an id (with or without `sha256:`). Throws IMAGE_NOT_FOUND, IMAGE_AMBIGUOUS. */
  image(reference: string): ImageRow {
    return JSON.parse(unwrap(this.#native.image(reference))) as ImageRow;
  }

  /** The id of the image that has this very reference, as it is stored. */
  imageId(reference: string): string | null {
    return unwrap(this.#native.imageId(reference));
  }

  /** Newest first. */
  images(): ImageRow[] {
    return JSON.parse(unwrap(this.#native.images())) as ImageRow[];
  }

  /** Points a reference at an image. Event `tag`. */
  tag(reference: string, id: string): void {
    unwrap(this.#native.tag(reference, id));
  }

  /** Removes a reference, not the image. Event `untag`. Throws IMAGE_NOT_FOUND. */
  untag(reference: string): void {
    unwrap(this.#native.untag(reference));
  }

  /**
   * Forgets an image and its references. Events `untag`, `delete`. Throws IMAGE_IN_USE where a container uses it: a
   * living one always, another unless `force`. Returns the layers nobody uses any more, as `removeContainer`.
   */
  removeImage(id: string, force = false): string[] {
    return JSON.parse(unwrap(this.#native.removeImage(id, force))) as string[];
  }

  /** Records a layer whose tree is in place; replaces the row of the same diffID. */
  insertLayer(layer: LayerRow): void {
    unwrap(this.#native.insertLayer(JSON.stringify(layer)));
  }

  layer(diffId: string): LayerRow | undefined {
    return (JSON.parse(unwrap(this.#native.layer(diffId))) as LayerRow | null) ?? undefined;
  }

  layers(): LayerRow[] {
    return JSON.parse(unwrap(this.#native.layers())) as LayerRow[];
  }

  /** Remembers compressed forms of layers that are recorded; of others nothing. */
  insertLayerSources(sources: readonly LayerSource[]): void {
    unwrap(this.#native.insertLayerSources(JSON.stringify(sources)));
  }

  layerSources(diffId: string): LayerSource[] {
    return JSON.parse(unwrap(this.#native.layerSources(diffId))) as LayerSource[];
  }

  /** True and event `create` where it is new; false where there is one of that name. */
  insertVolume(volume: NewVolume): boolean {
    return unwrap(this.#native.insertVolume(JSON.stringify(volume)));
  }

  /** Throws VOLUME_NOT_FOUND. */
  volume(name: string): VolumeRow {
    return JSON.parse(unwrap(this.#native.volume(name))) as VolumeRow;
  }

  volumes(): VolumeRow[] {
    return JSON.parse(unwrap(this.#native.volumes())) as VolumeRow[];
  }

  /** Event `destroy`. Throws VOLUME_NOT_FOUND; who uses it is in the containers' documents, the caller's to ask. */
  removeVolume(name: string): void {
    unwrap(this.#native.removeVolume(name));
  }

  /** Event `create`. Throws NETWORK_EXISTS, INTERFACE_IN_USE. */
  insertNetwork(network: NewNetwork): void {
    unwrap(this.#native.insertNetwork(JSON.stringify(network)));
  }

  /** By id, name, or prefix of an id. Throws NETWORK_NOT_FOUND, NETWORK_AMBIGUOUS. */
  network(reference: string): NetworkRow {
    return JSON.parse(unwrap(this.#native.network(reference))) as NetworkRow;
  }

  /** By name. */
  networks(): NetworkRow[] {
    return JSON.parse(unwrap(this.#native.networks())) as NetworkRow[];
  }

  /** Event `destroy`. Throws NETWORK_NOT_FOUND, NETWORK_IN_USE. */
  removeNetwork(id: string): void {
    unwrap(this.#native.removeNetwork(id));
  }

  /** Event `connect`. Throws NETWORK_NOT_FOUND, ENDPOINT_EXISTS. */
  insertEndpoint(endpoint: NewEndpoint): void {
    unwrap(this.#native.insertEndpoint(JSON.stringify(endpoint)));
  }

  endpointsOfContainer(containerId: string): EndpointRow[] {
    return JSON.parse(unwrap(this.#native.endpointsOfContainer(containerId))) as EndpointRow[];
  }

  endpointsOfNetwork(networkId: string): EndpointRow[] {
    return JSON.parse(unwrap(this.#native.endpointsOfNetwork(networkId))) as EndpointRow[];
  }

  /** Event `disconnect`. Throws ENDPOINT_NOT_FOUND. */
  removeEndpoint(networkId: string, containerId: string): void {
    unwrap(this.#native.removeEndpoint(networkId, containerId));
  }

  /**
   * Addresses and ports that are the container's until its life ends; all or none. Throws ADDRESS_IN_USE, NETWORK_FULL,
   * PORT_IN_USE.
   */
  lease(containerId: string, addresses: readonly AddressWanted[], ports: readonly PortWanted[]): Leased {
    return JSON.parse(unwrap(this.#native.lease(containerId, JSON.stringify({ addresses, ports })))) as Leased;
  }

  /** The ports that lead to a container, by its own. */
  ports(containerId: string): PortRow[] {
    return JSON.parse(unwrap(this.#native.ports(containerId))) as PortRow[];
  }

  /** Gives back some ports of a life that goes on. */
  releasePorts(containerId: string, ports: readonly PortRow[]): void {
    unwrap(this.#native.releasePorts(containerId, JSON.stringify(ports)));
  }

  /** An event without a change of state: `kill`, `exec_create`, `exec_start`, `exec_die`, `attach`, `mount`, … */
  appendEvent(event: NewEvent): void {
    unwrap(this.#native.appendEvent(JSON.stringify(event)));
  }

  /** Oldest first. To follow, watch the database's directory and ask for those `after` the last seq. */
  events(filter: EventFilter = {}): EventRow[] {
    return JSON.parse(unwrap(this.#native.events(JSON.stringify(filter)))) as EventRow[];
  }

  /** Finds containers whose monitor is gone, records their end, and says what is left to clean. Cheap when all is well. */
  reconcile(runRoot: string): Reconciled {
    return JSON.parse(unwrap(this.#native.reconcile(runRoot))) as Reconciled;
  }
}

/** The present time in the form the database keeps. */
export function now(): string {
  return load().addon.now();
}
