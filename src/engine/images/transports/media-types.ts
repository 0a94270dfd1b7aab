// The same things in OCI's words and in Docker's.

import { type Descriptor, mediaTypes } from '../../../registry/oci.ts';
import { ImageError } from '../../errors.ts';
import type { Compression, Format } from './transport.ts';

const layers: Record<Format, Record<Compression, string>> = {
  oci: {
    none: 'application/vnd.oci.image.layer.v1.tar',
    gzip: 'application/vnd.oci.image.layer.v1.tar+gzip',
    zstd: 'application/vnd.oci.image.layer.v1.tar+zstd',
  },
  docker: {
    none: 'application/vnd.docker.image.rootfs.diff.tar',
    gzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip',
    zstd: 'application/vnd.docker.image.rootfs.diff.tar.zstd',
  },
};

export function layerMediaType(format: Format, compression: Compression): string {
  return layers[format][compression];
}

/** A layer that only its maker may distribute. */
export function isForeign({ mediaType }: Descriptor): boolean {
  return /\.(foreign|nondistributable)\./.test(mediaType);
}

/** How a layer of that type is packed. */
export function compressionOf(mediaType: string): Compression {
  return /[+.]gzip$/.test(mediaType) ? 'gzip' : /[+.]zstd$/.test(mediaType) ? 'zstd' : 'none';
}

/** A descriptor as a manifest of this format writes it. */
export function retyped(descriptor: Descriptor, format: Format): Descriptor {
  const { mediaType } = descriptor;
  const configs: readonly string[] = [mediaTypes.ociConfig, mediaTypes.dockerConfig];
  if (configs.includes(mediaType)) {
    return { ...descriptor, mediaType: format === 'oci' ? mediaTypes.ociConfig : mediaTypes.dockerConfig };
  }
  if (isForeign(descriptor)) return { ...descriptor, mediaType: foreignType(mediaType, format) };
  const compression = compressionOf(mediaType);
  if (format === 'docker' && compression === 'zstd') {
    throw new ImageError('FORMAT_UNSUPPORTED', "Docker's format has no layers packed with zstd: use the format oci");
  }
  return { ...descriptor, mediaType: layers[format][compression] };
}

function foreignType(mediaType: string, format: Format): string {
  const isPacked = /[+.]gzip$/.test(mediaType);
  return format === 'oci'
    ? `application/vnd.oci.image.layer.nondistributable.v1.tar${isPacked ? '+gzip' : ''}`
    : `application/vnd.docker.image.rootfs.foreign.diff.tar${isPacked ? '.gzip' : ''}`;
}
