// From bytes that a registry or an archive calls a manifest to a document that can be relied on, or an error.
// The size of the bytes and their digest are checked here too: nothing gets past without them.

import { ImageError } from '../engine/errors.ts';
import { sha256 } from '../native.ts';
import { type Descriptor, type ImageConfig, type Index, type Manifest, mediaTypes, type Platform } from './oci.ts';
import { digestPattern } from './reference.ts';

/** Registries keep to this since distribution-spec 1.1; more than this is refused before it is read. */
export const manifestLimit = 4 << 20;
export const configLimit = 8 << 20;
/** What the kernel's overlay takes (measured on 6.18: 501 is EINVAL). */
export const layerLimit = 500;

export type Document =
  | { kind: 'index'; mediaType: string; digest: string; bytes: Buffer; index: Index }
  | { kind: 'manifest'; mediaType: string; digest: string; bytes: Buffer; manifest: Manifest };

export type ImageDocument = Extract<Document, { kind: 'manifest' }>;

const indexTypes: readonly string[] = [mediaTypes.ociIndex, mediaTypes.dockerList];
const manifestTypes: readonly string[] = [mediaTypes.ociManifest, mediaTypes.dockerManifest];
const configTypes: readonly string[] = [mediaTypes.ociConfig, mediaTypes.dockerConfig];
const layerType =
  /^application\/vnd\.(oci\.image\.layer(\.nondistributable)?\.v1|docker\.image\.rootfs\.(foreign\.)?diff)\.tar(\W|$)/;

/** Checks bytes against what was promised of them. `what` is for people: `the manifest of debian:12`. */
export function verify(bytes: Buffer, promised: { digest: string; size?: number | undefined }, what: string): void {
  if (promised.size !== undefined && bytes.length !== promised.size) {
    throw new ImageError('SIZE_MISMATCH', `${what} is ${bytes.length} bytes long where ${promised.size} were promised`);
  }
  const digest = sha256(bytes);
  if (digest !== promised.digest) {
    throw new ImageError(
      'DIGEST_MISMATCH',
      `${what} has the digest ${digest}, not ${promised.digest}: do not trust this source`,
    );
  }
}

/**
 * An index or a manifest. `declared` is what the outside calls it (Content-Type, a descriptor's mediaType): the inside
 * must agree, or one digest could mean two images (CVE-2021-41190).
 */
export function parseManifest(bytes: Buffer, declared: string | undefined, what: string): Document {
  const mediaType = declared?.split(';', 1)[0]!.trim().toLowerCase();
  if (mediaType?.startsWith('application/vnd.docker.distribution.manifest.v1')) {
    throw invalid(what, 'it is in schema 1, which Docker gave up in 2017: push it again with a newer tool');
  }
  const document = parseObject(bytes, what);
  const inside = document.mediaType;
  if (inside !== undefined && typeof inside !== 'string') throw invalid(what, 'its mediaType is no string');
  if (mediaType !== undefined && inside !== undefined && inside !== mediaType) {
    throw invalid(what, `it came as ${mediaType} but calls itself ${inside}`);
  }
  const type = inside ?? mediaType;
  if (type === undefined || !(indexTypes.includes(type) || manifestTypes.includes(type))) {
    throw invalid(what, `${type ?? 'no media type'} is no image manifest`);
  }
  if (document.schemaVersion !== 2) throw invalid(what, 'its schemaVersion is not 2');
  const common = { mediaType: type, digest: sha256(bytes), bytes };
  if (indexTypes.includes(type)) {
    if ('layers' in document || 'config' in document) throw invalid(what, 'it is an index and a manifest at once');
    const manifests = descriptors(document.manifests, what, 'manifests');
    return { kind: 'index', ...common, index: { schemaVersion: 2, manifests } };
  }
  if ('manifests' in document) throw invalid(what, 'it is an index and a manifest at once');
  const config = descriptor(document.config, what, 'config');
  const layers = descriptors(document.layers, what, 'layers');
  return { kind: 'manifest', ...common, manifest: { schemaVersion: 2, config, layers } };
}

/** A manifest as that of an image that can be unpacked here, not of a signature, a chart or what else registries keep. */
export function imageManifest(document: Document, what: string): ImageDocument {
  if (document.kind === 'index') throw invalid(what, 'its index leads to another index');
  const { config, layers } = document.manifest;
  if (!configTypes.includes(config.mediaType)) {
    throw invalid(what, `it is no container image but an artifact of type ${config.mediaType}`);
  }
  const stranger = layers.find((layer) => !layerType.test(layer.mediaType));
  if (stranger) throw invalid(what, `a layer of type ${stranger.mediaType} cannot be unpacked`);
  const encrypted = layers.find((layer) => layer.mediaType.includes('encrypted'));
  if (encrypted) throw invalid(what, 'its layers are encrypted: decrypt it first, for example with skopeo');
  if (layers.length > layerLimit)
    throw invalid(what, `it has ${layers.length} layers; Linux stacks at most ${layerLimit}`);
  return document;
}

/** The config of an image, and that its diffIDs are one for each layer of the manifest. */
export function parseConfig(bytes: Buffer, layers: number, what: string): ImageConfig {
  const config = parseObject(bytes, what) as unknown as ImageConfig;
  const ids: unknown = config.rootfs?.diff_ids;
  if (!Array.isArray(ids) || !ids.every((id): id is string => typeof id === 'string' && digestPattern.test(id))) {
    throw invalid(what, 'its rootfs.diff_ids are not a list of sha256 digests');
  }
  if (ids.length !== layers) throw invalid(what, `it names ${ids.length} layers where the manifest has ${layers}`);
  if (typeof config.os !== 'string' || typeof config.architecture !== 'string') {
    throw invalid(what, 'it does not say for which os and architecture it is');
  }
  checkDefaults(config.config, what);
  return config;
}

/** The fields that become a process must be what they claim: they are used without asking again. */
function checkDefaults(defaults: unknown, what: string): void {
  if (defaults === undefined || defaults === null) return;
  if (typeof defaults !== 'object') throw invalid(what, 'its config is no object');
  const fields = defaults as Record<string, unknown>;
  for (const name of ['Env', 'Cmd', 'Entrypoint', 'Shell', 'OnBuild']) {
    const value = fields[name];
    if (value === undefined) continue;
    // Docker writes null for "none".
    if (value === null) delete fields[name];
    else if (!Array.isArray(value) || !value.every(isClean))
      throw invalid(what, `its ${name} is not a list of strings`);
  }
  for (const name of ['User', 'WorkingDir', 'StopSignal']) {
    const value = fields[name];
    if (value !== undefined && !isClean(value)) throw invalid(what, `its ${name} is no string`);
  }
  for (const name of ['Labels', 'Volumes', 'ExposedPorts', 'Healthcheck']) {
    const value = fields[name];
    if (value === null) delete fields[name];
    else if (value !== undefined && (typeof value !== 'object' || Array.isArray(value)))
      throw invalid(what, `its ${name} is no object`);
  }
  if (!Object.values((fields.Labels as object | undefined) ?? {}).every((value) => typeof value === 'string')) {
    throw invalid(what, 'its Labels are not all strings');
  }
}

function isClean(value: unknown): boolean {
  return typeof value === 'string' && !value.includes('\0');
}

function parseObject(bytes: Buffer, what: string): Record<string, unknown> {
  try {
    const document: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    if (typeof document === 'object' && document !== null && !Array.isArray(document)) {
      return document as Record<string, unknown>;
    }
  } catch {
    // The parser's message would quote whatever the server sent.
  }
  throw invalid(what, 'it is no JSON object');
}

function descriptors(list: unknown, what: string, field: string): Descriptor[] {
  if (!Array.isArray(list)) throw invalid(what, `its ${field} are no list`);
  return list.map((entry, index) => descriptor(entry, what, `${field}[${index}]`));
}

function descriptor(value: unknown, what: string, field: string): Descriptor {
  const { mediaType, digest, size, platform, annotations, artifactType, urls } = (value ?? {}) as Record<
    string,
    unknown
  >;
  if (typeof mediaType !== 'string') throw invalid(what, `${field} has no mediaType`);
  if (typeof digest !== 'string' || !digestPattern.test(digest)) {
    throw invalid(
      what,
      `${field} has no sha256 digest${typeof digest === 'string' ? ` but ${JSON.stringify(digest)}` : ''}`,
    );
  }
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) throw invalid(what, `${field} has no size`);
  return {
    mediaType,
    digest,
    size,
    ...(isPlatform(platform) && { platform: platformFields(platform) }),
    ...(typeof artifactType === 'string' && { artifactType }),
    ...(Array.isArray(urls) && { urls: urls.filter((url) => typeof url === 'string') }),
    ...(typeof annotations === 'object' &&
      annotations !== null && { annotations: annotations as Record<string, string> }),
  };
}

function platformFields(given: Platform): Platform {
  const { os, architecture, variant, 'os.version': version, 'os.features': features } = given;
  return {
    os,
    architecture,
    variant,
    ...(typeof version === 'string' && { 'os.version': version }),
    ...(Array.isArray(features) && { 'os.features': features.filter((one) => typeof one === 'string') }),
  };
}

function isPlatform(value: unknown): value is Platform {
  const { os, architecture, variant } = (value ?? {}) as Record<string, unknown>;
  return (
    typeof os === 'string' && typeof architecture === 'string' && (variant === undefined || typeof variant === 'string')
  );
}

function invalid(what: string, why: string): ImageError {
  return new ImageError('MANIFEST_INVALID', `${what} cannot be used: ${why}`);
}
