// The documents of the OCI image and distribution specifications, and Docker's twins of them, as types.
// Shapes and media types only; checking them is manifest.ts's.

export const mediaTypes = {
  ociIndex: 'application/vnd.oci.image.index.v1+json',
  ociManifest: 'application/vnd.oci.image.manifest.v1+json',
  ociConfig: 'application/vnd.oci.image.config.v1+json',
  dockerList: 'application/vnd.docker.distribution.manifest.list.v2+json',
  dockerManifest: 'application/vnd.docker.distribution.manifest.v2+json',
  dockerConfig: 'application/vnd.docker.container.image.v1+json',
} as const;

/** What we ask a registry for, the most telling first. */
export const acceptedManifests = [
  mediaTypes.ociIndex,
  mediaTypes.dockerList,
  mediaTypes.ociManifest,
  mediaTypes.dockerManifest,
].join(', ');

export interface Platform {
  os: string;
  architecture: string;
  variant?: string | undefined;
  /** What an index tells of other systems than Linux; chosen by nothing here, and kept. */
  'os.version'?: string | undefined;
  'os.features'?: string[] | undefined;
}

export interface Descriptor {
  mediaType: string;
  /** `sha256:HEX`. */
  digest: string;
  /** Bytes. */
  size: number;
  platform?: Platform | undefined;
  annotations?: Record<string, string> | undefined;
  /** Where else the content may be had: layers that may not be distributed. */
  urls?: string[] | undefined;
  artifactType?: string | undefined;
}

/** Whether a registry must not keep it: it may be elsewhere (foreign.ts). */
export function isForeign({ mediaType, urls }: Descriptor): boolean {
  return urls !== undefined && urls.length > 0 && /\.(nondistributable|foreign)\./.test(mediaType);
}

export interface Manifest {
  schemaVersion: 2;
  mediaType?: string;
  config: Descriptor;
  layers: Descriptor[];
}

export interface Index {
  schemaVersion: 2;
  mediaType?: string;
  manifests: Descriptor[];
}

/** What an image asks of the process started from it; OCI's `config`, with Docker's additions. */
export interface ProcessDefaults {
  User?: string;
  ExposedPorts?: Record<string, object>;
  Env?: string[];
  Entrypoint?: string[];
  Cmd?: string[];
  Volumes?: Record<string, object>;
  WorkingDir?: string;
  Labels?: Record<string, string>;
  StopSignal?: string;
  Shell?: string[];
  OnBuild?: string[];
  Healthcheck?: {
    Test?: string[];
    Interval?: number;
    Timeout?: number;
    StartPeriod?: number;
    StartInterval?: number;
    Retries?: number;
  };
}

export interface ImageConfig {
  created?: string;
  author?: string;
  architecture: string;
  os: string;
  variant?: string;
  comment?: string;
  config?: ProcessDefaults;
  rootfs: { type: 'layers'; diff_ids: string[] };
  history?: {
    created?: string;
    author?: string;
    created_by?: string;
    comment?: string;
    empty_layer?: boolean;
  }[];
}
