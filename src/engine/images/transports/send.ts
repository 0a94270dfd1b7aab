// A source's image → a sink: blobs first, then the manifest. Where every blob arrives as it was, so does the manifest, and
// the digest stays; where a layer was packed anew, a manifest is written around the same config, so the image id stays.

import { ImageError } from '../../errors.ts';
import { type LayerSource, sha256 } from '../../../native.ts';
import { type Document, parseManifest } from '../../../registry/manifest.ts';
import { type Descriptor, mediaTypes } from '../../../registry/oci.ts';
import type { LayerProgress } from '../types.ts';
import { compressionOf, isForeign, layerMediaType, retyped } from './media-types.ts';
import type { Compression, Content, Format, OutgoingImage, OutgoingLayer, Sink, Tree } from './transport.ts';

export interface SendOptions {
  format?: Format | undefined;
  compression?: Compression | undefined;
  /** How the sink calls it; undefined for a part of an index. */
  names: readonly string[] | undefined;
  signal: AbortSignal;
  onProgress?: ((progress: LayerProgress) => void) | undefined;
}

/** Resolves to the manifest as the sink has it. */
export async function sendImage(image: OutgoingImage, sink: Sink, options: SendOptions): Promise<Document> {
  const { signal, names } = options;
  const original = image.manifest && parseManifest(image.manifest.bytes, undefined, `the manifest of ${image.name}`);
  const described = original?.kind === 'manifest' ? original : undefined;
  const format = options.format ?? sink.format ?? formatOf(described);
  const compression = options.compression ?? sink.compression;
  const config = await sink.blob(
    {
      role: 'config',
      mediaType: described?.manifest.config.mediaType ?? mediaTypes.ociConfig,
      digest: image.config.digest,
      size: image.config.bytes.length,
      open: () => once(image.config.bytes),
    },
    signal,
  );
  const layers = await inParallel(image.layers, sink.parallel, (layer, index) =>
    sendLayer(
      { ...layer, forms: layer.forms?.filter((form) => isWelcome(form, format, options.compression)) },
      described?.manifest.layers[index],
      sink,
      { ...options, format, compression },
    ),
  );
  const document = arrived(described, format, config, layers);
  await sink.manifest(document, names, signal);
  return document;
}

/** All platforms and whatever else an index leads to, byte for byte. */
export async function sendTree(tree: Tree, sink: Sink, options: SendOptions): Promise<Document> {
  await sendDocument(tree, tree.root, sink, options, 0);
  await sink.manifest(tree.root, options.names, options.signal);
  return tree.root;
}

/** What a document needs; not the document itself. */
export async function sendDocument(
  tree: Tree,
  document: Document,
  sink: Sink,
  options: SendOptions,
  depth: number,
): Promise<void> {
  const { signal, onProgress } = options;
  if (document.kind === 'index') {
    // Digests are checked, so that no index holds itself; a long chain of them is still nobody's image.
    if (depth === 3) throw new ImageError('MANIFEST_INVALID', `the index ${document.digest} is too deep in others`);
    for (const entry of document.index.manifests) {
      const part = await tree.document(entry, signal);
      await sendDocument(tree, part, sink, options, depth + 1);
      await sink.manifest(part, undefined, signal);
    }
    return;
  }
  const { config, layers } = document.manifest;
  const blobs = [{ role: 'config' as const, descriptor: config }];
  const all = [...blobs, ...layers.map((descriptor) => ({ role: 'layer' as const, descriptor }))];
  await inParallel(all, sink.parallel, async ({ role, descriptor }) => {
    if (isForeign(descriptor)) return;
    const { digest, size, mediaType } = descriptor;
    const report = (phase: LayerProgress['phase'], bytes: number) =>
      role === 'layer' && onProgress?.({ layer: digest, phase, bytes, total: size });
    const open = (stop: AbortSignal) => tree.blob(descriptor, stop);
    const forms = tree.origin && [{ diffId: '', digest, size, mediaType, ...tree.origin }];
    const content: Content = { role, mediaType, digest, size, open, forms, onProgress: report };
    await sink.blob(content, signal);
    report('pushed', size);
  });
}

async function sendLayer(
  layer: OutgoingLayer,
  promised: Descriptor | undefined,
  sink: Sink,
  { format, compression, signal, onProgress }: SendOptions & { format: Format; compression: Compression },
): Promise<Descriptor> {
  // Whoever may not spread it keeps saying where it is.
  if (promised && isForeign(promised)) return promised;
  const name = layer.diffId ?? layer.digest ?? '';
  let phase: LayerProgress['phase'] = 'pushing';
  const report = (now: LayerProgress['phase'], bytes: number) => {
    phase = now;
    onProgress?.({ layer: name, phase, bytes, total: layer.size });
  };
  onProgress?.({ layer: name, phase: 'waiting', bytes: 0, total: layer.size });
  const common = { role: 'layer' as const, forms: layer.forms, onProgress: report };
  let sent: Descriptor;
  if (layer.pack && compression !== 'none') {
    const { pack } = layer;
    let verdict: Promise<{ digest: string }> | undefined;
    const open = (stop: AbortSignal) => {
      const packed = pack(compression, stop);
      verdict = packed.verdict;
      verdict?.catch(() => {}); // asked for below, where the stream was read to its end
      return packed.stream;
    };
    const mediaType = layerMediaType(format, compression);
    sent = await sink.blob({ ...common, mediaType, digest: undefined, size: undefined, open }, signal);
    const made = await verdict;
    if (made && made.digest !== sent.digest) {
      throw new ImageError('DIGEST_MISMATCH', `layer ${name} arrived as ${sent.digest}, it was sent as ${made.digest}`);
    }
  } else {
    const { size, open } = layer;
    const plain = layer.diffId !== undefined || !promised;
    const mediaType = plain ? layerMediaType(format, layer.compression ?? 'none') : promised.mediaType;
    sent = await sink.blob({ ...common, mediaType, digest: layer.digest ?? layer.diffId, size, open }, signal);
  }
  if (phase === 'pushing') report('pushed', layer.size);
  return sent;
}

/** Another form of a layer will do where it is packed as was asked, and the manifest may say so. */
function isWelcome({ mediaType }: LayerSource, format: Format, asked: Compression | undefined): boolean {
  const packed = compressionOf(mediaType);
  // A registry's own layer on its way to another place in it says its type in the manifest.
  if (mediaType === '') return true;
  return (asked === undefined || asked === packed) && !(format === 'docker' && packed === 'zstd');
}

/** The manifest of what arrived: the one there was, where it still tells the truth. */
function arrived(
  original: Extract<Document, { kind: 'manifest' }> | undefined,
  format: Format,
  config: Descriptor,
  layers: Descriptor[],
): Document {
  const same =
    original !== undefined &&
    formatOf(original) === format &&
    original.manifest.config.digest === config.digest &&
    layers.every(({ digest }, index) => digest === original.manifest.layers[index]?.digest);
  if (same) return original;
  // What else it said, such as annotations, is still true.
  const said = original ? (JSON.parse(original.bytes.toString('utf8')) as object) : {};
  const mediaType = format === 'oci' ? mediaTypes.ociManifest : mediaTypes.dockerManifest;
  const document = {
    ...said,
    schemaVersion: 2,
    mediaType,
    config: retyped(config, format),
    layers: layers.map((layer) => retyped(layer, format)),
  };
  const bytes = Buffer.from(JSON.stringify(document));
  return { kind: 'manifest', mediaType, digest: sha256(bytes), bytes, manifest: { ...document, schemaVersion: 2 } };
}

function formatOf(document: Document | undefined): Format {
  return document?.mediaType === mediaTypes.dockerManifest ? 'docker' : 'oci';
}

async function* once(bytes: Uint8Array): AsyncGenerator<Uint8Array, void, undefined> {
  yield bytes;
}

/** As `map`, so many at a time; the first failure is the outcome, once all that had begun have ended. */
async function inParallel<T, R>(
  items: readonly T[],
  width: number,
  work: (item: T, index: number) => Promise<R>,
): Promise<R[]> {
  const results: R[] = [];
  let next = 0;
  const lane = async () => {
    while (next < items.length) {
      const index = next++;
      try {
        results[index] = await work(items[index]!, index);
      } catch (error) {
        next = items.length;
        throw error;
      }
    }
  };
  const lanes = await Promise.allSettled(Array.from({ length: Math.min(width, items.length) }, lane));
  for (const one of lanes) if (one.status === 'rejected') throw one.reason;
  return results;
}
