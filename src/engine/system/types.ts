// The words of `engine.system`: what goes in and what comes out.

/** Bytes are of allocated blocks; what has several names counts once. */
export interface UsageTotals {
  total: number;
  /** How many of them are in use. */
  active: number;
  /** Bytes. */
  size: number;
  /** Bytes that become free when those that are not in use are removed. */
  reclaimable: number;
}

export interface ImageUsage {
  id: string;
  /** As a user writes them. */
  names: string[];
  /** RFC 3339. */
  created: string | null;
  size: number;
  /** Bytes that go with this image alone. */
  unique: number;
  /** Bytes that other images have too. */
  shared: number;
  containers: number;
}

export interface ContainerUsage {
  id: string;
  name: string;
  image: string;
  command: string[];
  volumes: number;
  /** Bytes of what it wrote, and of its log. */
  size: number;
  created: string;
  status: string;
}

export interface VolumeUsage {
  name: string;
  size: number;
  /** How many containers mount it. */
  links: number;
}

export interface DiskUsage {
  images: UsageTotals & { items: ImageUsage[] };
  containers: UsageTotals & { items: ContainerUsage[] };
  volumes: UsageTotals & { items: VolumeUsage[] };
  /** Downloads that were interrupted, what processes that died have left, and what makes starts fast. */
  cache: UsageTotals;
}

export interface PruneFilters {
  /** Made before this time: RFC 3339. Volumes have no such filter. */
  until?: string | undefined;
  /** `KEY` or `KEY=value`: all of them. */
  labels?: readonly string[] | undefined;
  /** None of them. */
  withoutLabels?: readonly string[] | undefined;
}

export type PruneKind = 'containers' | 'networks' | 'images' | 'volumes' | 'cache';

export interface PruneOptions {
  /** All but volumes by default. */
  kinds?: readonly PruneKind[] | undefined;
  /** Images without a container, not only those without a name. */
  allImages?: boolean | undefined;
  /** Volumes with a name too, not only those made for one container. */
  allVolumes?: boolean | undefined;
  filters?: PruneFilters | undefined;
}

export interface Pruned {
  /** Ids. */
  containers: string[];
  images: ({ untagged: string } | { deleted: string })[];
  /** Names. */
  networks: string[];
  volumes: string[];
  /** Bytes of allocated blocks. */
  reclaimed: number;
}

export interface CheckOptions {
  /** Removes what is broken. */
  repair?: boolean | undefined;
  /** Also containers that do not run and stand on broken layers. */
  force?: boolean | undefined;
  /** Looks only whether everything is there. */
  quick?: boolean | undefined;
  signal?: AbortSignal | undefined;
  /** Called before each thing is looked at. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

export interface Damage {
  /** A digest: of a layer's tar, a config or a manifest. */
  digest: string;
  what: 'layer' | 'config' | 'manifest';
  /** One line. */
  reason: string;
  /** Ids of images that need it. */
  images: string[];
  /** Ids of containers that stand on it. */
  containers: string[];
  repaired: boolean;
}

export interface CheckReport {
  layers: number;
  documents: number;
  damaged: Damage[];
}
