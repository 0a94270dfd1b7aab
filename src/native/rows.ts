// The rows of the database as TypeScript sees them: the twin of crates/state's types. It holds types only.

export type ContainerStatus = 'created' | 'starting' | 'running' | 'paused' | 'exited';

/** A container before it has a life. */
export interface NewContainer {
  /** 64 hexadecimal digits. */
  id: string;
  name: string;
  /** `starting` where the caller holds the lock and is about to spawn the monitor. */
  status: 'created' | 'starting';
  /** The image's id, `sha256:…`. */
  imageId: string;
  /** What the user called it: for `ps` and for the events' attributes. */
  image: string;
  /** `--rm`. */
  autoRemove: boolean;
  labels: Record<string, string>;
  /** Ids of the networks it is on, each with what is the engine's own about it. */
  networks?: [id: string, document: unknown][];
  /** What the engine wants to remember: its own business. */
  document: unknown;
}

export interface ContainerRow extends NewContainerBase {
  /** The diffIDs under its root, lowest first, the image's: they stay while the container does. */
  layers: string[];
  status: ContainerStatus;
  createdAt: string;
  startedAt: string | null;
  finishedAt: string | null;
  /** The container's PID 1 as the host sees it, while it lives. */
  pid: number | null;
  /** Of the last life: null before the first has ended. */
  exitCode: number | null;
  oomKilled: boolean;
  /** Why the last start failed. */
  error: string | null;
}

type NewContainerBase = Omit<NewContainer, 'status' | 'networks'>;

export interface ContainerFilter {
  /** All of them where absent. */
  status?: ContainerStatus[];
}

/** How a container's life ended: exit.json, or the monitor's `exited` or `failed` event. */
export interface Exit {
  exitCode: number;
  signal?: number | null;
  oomKilled?: boolean;
  startedAt?: string | null;
  finishedAt?: string;
  error?: string | null;
}

export interface NewImage {
  /** The digest of its config, `sha256:…`. */
  id: string;
  manifestDigest: string | null;
  /** The OCI image config. */
  config: unknown;
  /** Lowest first. */
  diffIds: string[];
  /** Bytes on disk, unpacked. */
  size: number;
  /** When the image was made, as its config says. */
  createdAt: string | null;
  /** `os/architecture[/variant]`. */
  platform: string;
  /** Normalised: `docker.io/library/debian:12`. */
  references: string[];
  /** The image that a container was made of whose changes are this one's top layer; it need not be here any more. */
  parentId?: string | null;
}

export interface ImageRow extends NewImage {
  parentId: string | null;
  /** When it was last given a name. */
  taggedAt: string | null;
}

export interface LayerRow {
  diffId: string;
  /** Bytes as it came, compressed. */
  size: number;
  /** Bytes of its tree. */
  unpackedSize: number;
}

/** A compressed form of a layer, and a repository that has it. */
export interface LayerSource {
  diffId: string;
  /** Of the blob. */
  digest: string;
  /** Bytes of the blob. */
  size: number;
  mediaType: string;
  /** `host[:port]`; empty, as the repository, where kapsel wrote it and no registry is known to have it. */
  registry: string;
  repository: string;
}

export interface NewVolume {
  name: string;
  labels: Record<string, string>;
}

export interface VolumeRow extends NewVolume {
  createdAt: string;
}

export interface NewNetwork {
  /** 64 hexadecimal digits. */
  id: string;
  name: string;
  /** `bridge` or `macvlan`. */
  driver: string;
  /** The host's interface, where the network has one; unique. */
  interface: string | null;
  labels: Record<string, string>;
  /** The engine's own. */
  document: unknown;
}

export interface NetworkRow extends NewNetwork {
  createdAt: string;
}

export interface NewEndpoint {
  networkId: string;
  containerId: string;
  /** The engine's own. */
  document: unknown;
}

/** A container on a network, whether it runs or not. */
export interface EndpointRow extends NewEndpoint {
  /** Which of the network's subnets → the address's number in it; empty while the container does not run. */
  leases: Record<string, number>;
}

/** An address of a subnet, as its number counted from the subnet's first. */
export interface AddressWanted {
  networkId: string;
  /** Which of the network's subnets. */
  subnet: number;
  /** What may be given unasked, both included, but for `reserved`. */
  first: number;
  last: number;
  reserved: number[];
  /** This one and no other. */
  exactly?: number | undefined;
}

/** A port of the host, the same of all `addresses`: the first that is free from `begin` to `last`, then from `first` on. */
export interface PortWanted {
  protocol: 'tcp' | 'udp' | 'sctp';
  addresses: readonly string[];
  first: number;
  last: number;
  begin: number;
  /** The container's. */
  containerPort: number;
}

/** What a container has for the time of its life. */
export interface Leased {
  /** Numbers, in the order in which they were asked for. */
  addresses: number[];
  ports: PortRow[];
}

/** A port of the host that leads to a container. */
export interface PortRow {
  protocol: 'tcp' | 'udp' | 'sctp';
  /** Of the host; every one of a family: `0.0.0.0`, `::`. */
  address: string;
  port: number;
  /** The container's. */
  containerPort: number;
}

export type EventKind = 'container' | 'image' | 'network' | 'volume';

export interface NewEvent {
  kind: EventKind;
  /** Docker's word. */
  action: string;
  /** Of the container, the image, the network or the volume. */
  id: string;
  attributes: Record<string, string>;
}

export interface EventRow extends NewEvent {
  /** Grows by at least one with every event, never reused. */
  seq: number;
  time: string;
}

export interface EventFilter {
  /** Only those with a greater seq. */
  after?: number;
  /** Times, inclusive. */
  since?: string;
  until?: string;
  limit?: number;
}

/**
 * What a reconciliation found. Reaping a container: take its lock with `lockExclusive` (LOCK_IN_USE: somebody else is
 * at it), read its row again, kill and remove its cgroup, remove what `--rm` asks for, and its run directory last.
 */
export interface Reconciled {
  /** Containers whose monitor is gone and whose run directory is still there, as they are now: to be reaped. */
  died: ContainerRow[];
  /** Dead containers of `--rm`, those in `died` included: to be removed with everything they had. */
  remove: ContainerRow[];
  /** Ids of run directories without a row (their maker died before the insert). They have been removed. */
  strays: string[];
}
