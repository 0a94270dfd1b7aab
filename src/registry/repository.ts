// One repository of one registry: manifests, blobs, tags and referrers of the distribution protocol.
// Every blob that leaves here has the size that was promised; digests of manifests are checked, those of blobs by their readers.
// What is read may come from a mirror: the hosts are asked in order, and one that fails is passed over.

import { AbortedError, ImageError, RegistryError } from '../engine/errors.ts';
import { isForeign } from './oci.ts';
import type { Capability } from './host.ts';
import { sha256 } from '../native.ts';
import { type Document, manifestLimit, parseManifest, verify } from './manifest.ts';
import { acceptedManifests, type Descriptor } from './oci.ts';
import { pages } from './pages.ts';
import { familiar, familiarName, type Reference } from './reference.ts';
import { recordReferrer, referrers } from './referrers.ts';
import { isPassing } from './retry.ts';
import type { Session } from './session.ts';
import type { Answer } from './transport.ts';
import type { BlobContent } from './upload.ts';

export interface RepositoryOptions {
  reference: Reference;
  /** Ways to the repository, mirrors first; the registry itself is the last. */
  sessions: () => Promise<Session[]>;
}

/** Bytes of a blob after which earlier broken connections are forgiven: one byte a try is no progress. */
const steadyProgress = 1 << 20;

export class Repository {
  readonly #reference: Reference;
  readonly #sessions: () => Promise<Session[]>;
  #opened: Promise<Session[]> | undefined;
  /** Digests of blobs that mirrors were asked for, and of those that they are not to be asked for again. */
  readonly #mirrored = new Set<string>();
  readonly #distrusted = new Set<string>();
  /** As a user writes it. */
  readonly #name: string;

  constructor({ reference, sessions }: RepositoryOptions) {
    this.#reference = reference;
    this.#sessions = sessions;
    this.#name = familiarName(reference);
  }

  /** What the reference points at. */
  root(signal?: AbortSignal): Promise<Document> {
    const { tag, digest } = this.#reference;
    return this.#manifest(digest ?? tag ?? 'latest', digest === undefined ? undefined : { digest }, undefined, signal);
  }

  /** An entry of an index. */
  manifest(descriptor: Descriptor, signal?: AbortSignal): Promise<Document> {
    return this.#manifest(descriptor.digest, descriptor, descriptor.mediaType, signal);
  }

  /** The bytes of a blob from byte `at` on: exactly as many as promised, continued where a connection breaks, and not yet hashed. */
  async *blob(descriptor: Descriptor, signal?: AbortSignal, at = 0): AsyncGenerator<Buffer, void, undefined> {
    const hosts = await this.#hosts('pull');
    const sessions = this.#distrusted.has(descriptor.digest) ? hosts.slice(-1) : hosts;
    for (const [index, session] of sessions.entries()) {
      const isLast = index === sessions.length - 1;
      if (!isLast) this.#mirrored.add(descriptor.digest);
      try {
        for await (const piece of this.#blob(session, descriptor, at, isLast, signal)) {
          at += piece.length;
          yield piece;
        }
        return;
      } catch (error) {
        if (isLast || signal?.aborted) throw error;
        // The sum of all that came will tell.
        if (at === descriptor.size) return;
      }
    }
  }

  /** A blob was not what its digest says. True where a mirror had a part in it: from now on the registry itself is asked for it. */
  distrust(digest: string): boolean {
    this.#distrusted.add(digest);
    return this.#mirrored.delete(digest);
  }

  /** Every tag, in the registry's order. */
  async *tags(signal?: AbortSignal): AsyncGenerator<string, void, undefined> {
    const session = last(await this.#hosts('resolve'));
    yield* pages(session, this.#path('tags/list'), 'tags', { deed: 'pull', missing: this.#name, signal });
  }

  /** What was attached to a manifest: signatures, attestations, bills of materials. */
  referrers(digest: string, signal?: AbortSignal): Promise<Descriptor[]> {
    return this.#read('pull', (session) => referrers(session, this.#path(''), digest, signal), signal);
  }

  async hasBlob(digest: string, signal?: AbortSignal): Promise<boolean> {
    const session = await this.#home();
    const answer = await session.request(this.#path(`blobs/${digest}`), { method: 'HEAD', deed: 'push', signal });
    if (answer.status === 200) {
      answer.body.resume();
      return true;
    }
    const refusal = await session.refusal(answer, 'push');
    if (answer.status === 404) return false;
    throw refusal;
  }

  /** Takes a blob over from another repository of the registry. False where it is to be uploaded instead. */
  async mountBlob(digest: string, from: string, signal?: AbortSignal): Promise<boolean> {
    const session = await this.#home();
    session.need(`repository:${from}:pull`);
    const { mountBlob } = await import('./upload.ts');
    return await mountBlob(session, this.#path('blobs/uploads/'), digest, from, signal);
  }

  async uploadBlob(content: BlobContent, signal?: AbortSignal): Promise<{ digest: string; size: number }> {
    const session = await this.#home();
    const { Upload } = await import('./upload.ts');
    return await new Upload(session, this.#path(''), content, signal).run();
  }

  /** `target`: a tag or the digest. Resolves to the digest. */
  async putManifest(target: string, bytes: Uint8Array, mediaType: string, signal?: AbortSignal): Promise<string> {
    const session = await this.#home();
    const digest = sha256(bytes);
    const answer = await session.request(this.#path(`manifests/${target}`), {
      method: 'PUT',
      headers: { 'Content-Type': mediaType, 'Content-Length': String(bytes.length) },
      body: () => bytes,
      deed: 'push',
      signal,
    });
    if (answer.status !== 201) throw await session.refusal(answer, 'push');
    answer.body.resume();
    const given = answer.headers['docker-content-digest'];
    if (typeof given === 'string' && given.startsWith('sha256:') && given !== digest) {
      throw new ImageError('DIGEST_MISMATCH', `${this.#name}: the registry stored ${given} for the manifest ${digest}`);
    }
    if (answer.headers['oci-subject'] === undefined) {
      await recordReferrer(session, this.#path(''), { digest, bytes, mediaType }, signal);
    }
    return digest;
  }

  #path(rest: string): string {
    return `${this.#reference.repository}/${rest}`;
  }

  async #hosts(capability: Capability): Promise<[Session, ...Session[]]> {
    this.#opened ??= this.#sessions();
    const [first, ...others] = (await this.#opened).filter(({ host }) => host.capabilities.has(capability));
    if (first) return [first, ...others];
    const message = `no host for ${this.#name} can ${capability}: see the capabilities in its hosts.toml`;
    throw new RegistryError('REGISTRY_CONFIG_INVALID', message);
  }

  /** Where what is written goes. */
  async #home(): Promise<Session> {
    const [session] = await this.#hosts('push');
    session.need(`repository:${this.#reference.repository}:pull,push`);
    return session;
  }

  /** The hosts in order. Why a mirror failed is of no use to whom the registry then serves. */
  async #read<T>(
    capability: Capability,
    work: (session: Session, attempts: number | undefined) => Promise<T>,
    signal: AbortSignal | undefined,
  ): Promise<T> {
    const sessions = await this.#hosts(capability);
    for (const session of sessions.slice(0, -1)) {
      try {
        return await work(session, 1);
      } catch {
        if (signal?.aborted) throw new AbortedError();
      }
    }
    return await work(last(sessions), undefined);
  }

  #manifest(
    target: string,
    promised: { digest: string; size?: number } | undefined,
    mediaType: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Document> {
    const missing = `manifest for ${familiar(this.#reference)}`;
    const what = `the manifest ${promised ? `${promised.digest} of ${this.#name}` : `of ${familiar(this.#reference)}`}`;
    const fetch = async (session: Session, attempts: number | undefined): Promise<Document> => {
      const { answer, body } = await session.document(this.#path(`manifests/${target}`), manifestLimit, what, {
        headers: { Accept: acceptedManifests },
        attempts,
        signal,
      });
      if (answer.status !== 200) throw session.refusalOf(answer, body, 'pull', missing);
      const header = answer.headers['docker-content-digest'];
      if (promised) verify(body, promised, what);
      else if (typeof header === 'string' && header.startsWith('sha256:')) verify(body, { digest: header }, what);
      const document = parseManifest(body, answer.headers['content-type'], what);
      if (mediaType === undefined || document.mediaType === mediaType) return document;
      const difference = `the index calls it ${mediaType}, it is ${document.mediaType}`;
      throw new ImageError('MANIFEST_INVALID', `${what} cannot be used: ${difference}`);
    };
    return this.#read(promised ? 'pull' : 'resolve', fetch, signal);
  }

  async *#blob(
    session: Session,
    descriptor: Descriptor,
    at: number,
    isPatient: boolean,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<Buffer, void, undefined> {
    const { failures, retries, transport } = session;
    const { digest, size } = descriptor;
    const attempts = isPatient ? retries.attempts : 1;
    let milestone = at + steadyProgress;
    for (let attempt = 1; ; attempt++) {
      const headers: Record<string, string> = at > 0 ? { Range: `bytes=${at}-` } : {};
      const target = this.#path(`blobs/${digest}`);
      let answer = await session.request(target, { headers, attempts, signal });
      if (answer.status === 404 && isForeign(descriptor)) {
        answer.body.destroy();
        const { openForeign } = await import('./foreign.ts');
        answer = await openForeign(transport, failures, descriptor, headers, signal);
      }
      let skip = await startOf(session, answer, descriptor, at);
      try {
        for await (const piece of transport.pieces(answer)) {
          const rest = skip === 0 ? piece : piece.subarray(skip);
          skip -= piece.length - rest.length;
          if (rest.length === 0) continue;
          if (at + rest.length > size) throw failures.wrongSize(descriptor, `more than ${size}`);
          at += rest.length;
          if (at >= milestone) {
            milestone = at + steadyProgress;
            attempt = 1;
          }
          yield rest;
        }
        if (at === size) return;
        throw failures.wrongSize(descriptor, `${at}`);
      } catch (error) {
        if (signal?.aborted) throw new AbortedError();
        if (!isPassing(error) || attempt >= attempts) throw failures.unreachable(error, 'pull');
      }
      await session.pause(attempt + 1, undefined, signal);
    }
  }
}

function last(sessions: [Session, ...Session[]]): Session {
  return sessions.at(-1) ?? sessions[0];
}

/** Checks that an answer is the blob from byte `at` on; returns how many bytes come before that. */
async function startOf(session: Session, answer: Answer, descriptor: Descriptor, at: number): Promise<number> {
  const { failures } = session;
  const { status, headers } = answer;
  const { digest, size } = descriptor;
  if (status === 206 && at > 0) {
    const range = headers['content-range'];
    const [, from, to, all] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(range ?? '') ?? [];
    if (Number(from) === at && Number(to) === size - 1 && (all === '*' || Number(all) === size)) return 0;
    answer.body.destroy();
    throw failures.protocol(`answered a request for blob ${digest} from byte ${at} with ${range ?? 'no range'}`);
  }
  if (status === 200) {
    const length = headers['content-length'];
    if (length === undefined || Number(length) === size) return at;
    answer.body.destroy();
    throw failures.wrongSize(descriptor, length);
  }
  const refusal = await session.refusal(answer, 'pull');
  if (status === 404) throw failures.protocol(`has the manifest but not the blob ${digest}: push the image again`);
  throw refusal;
}
