// What refers to a manifest (distribution-spec, "Listing Referrers"), and its stand-in for registries that keep no such list:
// an index under the tag sha256-HEX, which whoever pushes a referrer keeps himself.

import { manifestLimit, parseManifest } from './manifest.ts';
import { type Descriptor, mediaTypes } from './oci.ts';
import type { Session } from './session.ts';

/** `base`: the repository's path, with its slash. */
export async function referrers(
  session: Session,
  base: string,
  digest: string,
  signal: AbortSignal | undefined,
): Promise<Descriptor[]> {
  const answered = await list(session, `${base}referrers/${digest}`, signal);
  return answered ?? (await list(session, `${base}manifests/${tagOf(digest)}`, signal)) ?? [];
}

/** Adds a manifest that names a subject to the subject's tag. */
export async function recordReferrer(
  session: Session,
  base: string,
  manifest: { digest: string; bytes: Uint8Array; mediaType: string },
  signal: AbortSignal | undefined,
): Promise<void> {
  const { subject, artifactType, config, annotations } = JSON.parse(Buffer.from(manifest.bytes).toString('utf8')) as {
    subject?: Descriptor;
    artifactType?: string;
    config?: Descriptor;
    annotations?: Record<string, string>;
  };
  if (subject === undefined) return;
  const target = `${base}manifests/${tagOf(subject.digest)}`;
  const known = (await list(session, target, signal)) ?? [];
  if (known.some(({ digest }) => digest === manifest.digest)) return;
  const entry = {
    mediaType: manifest.mediaType,
    digest: manifest.digest,
    size: manifest.bytes.length,
    artifactType: artifactType ?? config?.mediaType,
    annotations,
  };
  const index = { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests: [...known, entry] };
  const answer = await session.request(target, {
    method: 'PUT',
    headers: { 'Content-Type': mediaTypes.ociIndex },
    body: () => JSON.stringify(index),
    deed: 'push',
    signal,
  });
  if (answer.status !== 201) throw await session.refusal(answer, 'push');
  answer.body.resume();
}

function tagOf(digest: string): string {
  return digest.replace(':', '-').slice(0, 128);
}

/** Undefined where there is none. */
async function list(
  session: Session,
  target: string,
  signal: AbortSignal | undefined,
): Promise<Descriptor[] | undefined> {
  const what = 'the list of referrers';
  const headers = { Accept: mediaTypes.ociIndex };
  const { answer, body } = await session.document(target, manifestLimit, what, { headers, signal });
  if (answer.status === 404) return undefined;
  if (answer.status !== 200) throw session.refusalOf(answer, body, 'pull');
  const document = parseManifest(body, answer.headers['content-type'], what);
  if (document.kind === 'index') return document.index.manifests;
  throw session.failures.protocol(`answers with something that is no ${what.replace('the ', '')}`);
}
