// One repository of one registry, for reading: manifests and blobs of the distribution protocol.
// Every byte that leaves here has the size that was promised; digests of manifests are checked, those of blobs by their readers.

import { AbortedError, ImageError, NotFoundError, RegistryError } from '../engine/errors.ts';
import { Authorizer } from './authorizer.ts';
import type { Credentials } from './credentials.ts';
import { type Endpoint, mayLeadTo } from './endpoint.ts';
import { type Document, manifestLimit, parseManifest, verify } from './manifest.ts';
import { acceptedManifests, type Descriptor } from './oci.ts';
import { familiar, familiarName, type Reference } from './reference.ts';
import { isBusy, isPassing, pause, retryAfter, type RetryPolicy } from './retry.ts';
import type { Answer, Transport } from './transport.ts';

export interface RepositoryOptions {
  reference: Reference;
  /** Ways to reach the registry, in order. */
  endpoints: Endpoint[];
  transport: Transport;
  retries: RetryPolicy;
  credentials: () => Promise<Credentials | undefined>;
}

const redirects = new Set([301, 302, 303, 307, 308]);
const redirectLimit = 5;
/** Bytes of a blob after which earlier broken connections are forgiven: one byte a try is no progress. */
const steadyProgress = 1 << 20;

export class Repository {
  readonly #options: RepositoryOptions;
  readonly #authorizer: Authorizer;
  /** As a user writes it. */
  readonly #name: string;
  #endpoint: Endpoint | undefined;

  constructor(options: RepositoryOptions) {
    this.#options = options;
    this.#name = familiarName(options.reference);
    if (options.endpoints.length === 1) this.#endpoint = options.endpoints[0];
    this.#authorizer = new Authorizer({
      name: this.#name,
      scope: `repository:${options.reference.repository}:pull`,
      transport: options.transport,
      credentials: options.credentials,
    });
  }

  /** What the reference points at. */
  root(signal?: AbortSignal): Promise<Document> {
    const { tag, digest } = this.#options.reference;
    return this.#manifest(digest ?? tag ?? 'latest', digest === undefined ? undefined : { digest }, undefined, signal);
  }

  /** An entry of an index. */
  manifest(descriptor: Descriptor, signal?: AbortSignal): Promise<Document> {
    return this.#manifest(descriptor.digest, descriptor, descriptor.mediaType, signal);
  }

  async #manifest(
    target: string,
    promised: { digest: string; size?: number } | undefined,
    mediaType: string | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Document> {
    const what = `the manifest ${promised ? `${promised.digest} of ${this.#name}` : `of ${familiar(this.#options.reference)}`}`;
    const bytes: Buffer[] = [];
    // A manifest is read within the tries: a connection that breaks in it is like one that breaks before.
    const answer = await this.#get(`manifests/${target}`, { Accept: acceptedManifests }, signal, async (opened) => {
      bytes.length = 0;
      bytes.push(await this.#options.transport.read(opened, manifestLimit, what));
    });
    if (answer.status !== 200) throw this.#refusal(answer, Buffer.concat(bytes).toString('utf8'));
    const body = Buffer.concat(bytes);
    const header = answer.headers['docker-content-digest'];
    if (promised) verify(body, promised, what);
    else if (typeof header === 'string' && header.startsWith('sha256:')) verify(body, { digest: header }, what);
    const document = parseManifest(body, answer.headers['content-type'], what);
    if (mediaType !== undefined && document.mediaType !== mediaType) {
      throw new ImageError(
        'MANIFEST_INVALID',
        `${what} cannot be used: the index calls it ${mediaType}, it is ${document.mediaType}`,
      );
    }
    return document;
  }

  /** The bytes of a blob: exactly as many as promised, continued where a connection breaks, and not yet hashed. */
  async *blob(descriptor: Descriptor, signal?: AbortSignal): AsyncGenerator<Buffer, void, undefined> {
    const { retries, transport } = this.#options;
    const { digest, size } = descriptor;
    let at = 0;
    let milestone = steadyProgress;
    for (let attempt = 1; ; attempt++) {
      const headers: Record<string, string> = at > 0 ? { Range: `bytes=${at}-` } : {};
      const answer = await this.#get(`blobs/${digest}`, headers, signal);
      let skip = this.#startOf(answer, descriptor, at);
      try {
        for await (const piece of transport.pieces(answer)) {
          const rest = skip === 0 ? piece : piece.subarray(skip);
          skip -= piece.length - rest.length;
          if (rest.length === 0) continue;
          if (at + rest.length > size) throw this.#wrongSize(descriptor, `more than ${size}`);
          at += rest.length;
          if (at >= milestone) {
            milestone = at + steadyProgress;
            attempt = 1;
          }
          yield rest;
        }
        if (at === size) return;
        throw this.#wrongSize(descriptor, `${at}`);
      } catch (error) {
        if (signal?.aborted) throw new AbortedError();
        if (!isPassing(error) || attempt >= retries.attempts) throw this.#unreachable(error);
      }
      await this.#pause(attempt + 1, undefined, signal);
    }
  }

  /** Checks that an answer is the blob from byte `at` on; returns how many bytes come before that. */
  #startOf(answer: Answer, descriptor: Descriptor, at: number): number {
    const { status, headers } = answer;
    const { digest, size } = descriptor;
    if (status === 206 && at > 0) {
      const [, from, to, all] = /^bytes (\d+)-(\d+)\/(\d+|\*)$/.exec(headers['content-range'] ?? '') ?? [];
      if (Number(from) === at && Number(to) === size - 1 && (all === '*' || Number(all) === size)) return 0;
      answer.body.destroy();
      throw this.#protocol(
        `answered a request for blob ${digest} from byte ${at} with ${headers['content-range'] ?? 'no range'}`,
      );
    }
    if (status === 200) {
      const length = headers['content-length'];
      if (length === undefined || Number(length) === size) return at;
      answer.body.destroy();
      throw this.#wrongSize(descriptor, length);
    }
    answer.body.destroy();
    if (status === 404) throw this.#protocol(`has the manifest but not the blob ${digest}: push the image again`);
    throw this.#refusal(answer, '');
  }

  /** One GET with everything around it: tries, waits, logging in, redirects. `read` takes part in the tries. */
  async #get(
    path: string,
    headers: Record<string, string>,
    signal: AbortSignal | undefined,
    read?: (answer: Answer) => Promise<void>,
  ): Promise<Answer> {
    const { retries } = this.#options;
    for (let attempt = 1; ; attempt++) {
      let asked: number | undefined;
      try {
        const answer = await this.#authorized(path, headers, signal);
        if (!isBusy(answer.status)) {
          await read?.(answer);
          return answer;
        }
        answer.body.destroy();
        asked = retryAfter(answer.headers);
        if (attempt >= retries.attempts || (asked ?? 0) > retries.patience) throw this.#busy(answer, asked);
      } catch (error) {
        if (signal?.aborted) throw new AbortedError();
        const cause = (error as { passing?: unknown }).passing ?? error;
        if (!isPassing(cause) || attempt >= retries.attempts) throw this.#unreachable(error);
      }
      await this.#pause(attempt + 1, asked, signal);
    }
  }

  async #pause(attempt: number, asked: number | undefined, signal: AbortSignal | undefined): Promise<void> {
    try {
      await pause(this.#options.retries, attempt, asked, signal);
    } catch {
      throw new AbortedError();
    }
  }

  /** Logs in as often as the registry asks for something new: at most for a first token and for one of more scope. */
  async #authorized(path: string, headers: Record<string, string>, signal: AbortSignal | undefined): Promise<Answer> {
    this.#endpoint ??= await this.#probe(signal);
    const { base, verify: certificate } = this.#endpoint;
    const url = new URL(`${base}/v2/${this.#options.reference.repository}/${path}`);
    for (let round = 0; ; round++) {
      const authorization = this.#authorizer.header;
      const sent = authorization === undefined ? headers : { ...headers, Authorization: authorization };
      const answer = await this.#follow(url, sent, certificate, signal);
      const challenge = answer.headers['www-authenticate'];
      // A 401 from where a redirect led is not the registry's: it gets no credentials.
      if (answer.status !== 401 || challenge === undefined || round === 2 || answer.url.origin !== url.origin)
        return answer;
      if (!(await this.#authorizer.answer(authorization, url, challenge, certificate, signal))) return answer;
      answer.body.destroy();
    }
  }

  async #follow(
    start: URL,
    headers: Record<string, string>,
    certificate: boolean,
    signal: AbortSignal | undefined,
  ): Promise<Answer> {
    let url = start;
    let sent = headers;
    for (let hop = 0; hop <= redirectLimit; hop++) {
      const sameHost = url.host === start.host;
      const answer = await this.#options.transport.request(url, {
        headers: sent,
        signal,
        verify: certificate || !sameHost,
      });
      const { location } = answer.headers;
      if (!redirects.has(answer.status) || location === undefined) return answer;
      answer.body.destroy();
      const next = URL.canParse(location, url.href) ? new URL(location, url) : undefined;
      if (!next || !mayLeadTo(start, next))
        throw this.#protocol(`redirects to ${JSON.stringify(location)}, where kapsel does not go`);
      if (next.origin !== url.origin) sent = withoutAuthorization(sent);
      url = next;
    }
    throw this.#protocol(`redirects more than ${redirectLimit} times`);
  }

  /** Finds out which of several endpoints is spoken. */
  async #probe(signal: AbortSignal | undefined): Promise<Endpoint> {
    let failure: unknown;
    for (const endpoint of this.#options.endpoints) {
      try {
        const answer = await this.#options.transport.request(new URL(`${endpoint.base}/v2/`), {
          verify: endpoint.verify,
          signal,
        });
        answer.body.resume();
        // A TLS server answers plain http with 400.
        if (answer.status !== 400) return endpoint;
        failure = this.#protocol('answers 400');
      } catch (error) {
        if (signal?.aborted) throw error;
        failure = error;
      }
    }
    throw failure;
  }

  /** An answer that is not what was asked for, in Docker's words. */
  #refusal(answer: Answer, body: string): Error {
    const { registry } = this.#options.reference;
    const detail = errorCode(body);
    if (answer.status === 401 || answer.status === 403) {
      const cure = this.#authorizer.loggedIn
        ? 'the stored credentials do not allow it'
        : `it may not exist, or need a login (no credentials for ${registry} are stored)`;
      return this.#authorizer.loggedIn && answer.status === 401
        ? new RegistryError(
            'REGISTRY_UNAUTHORIZED',
            `pull access denied for ${this.#name}: ${registry} refused the stored credentials: log in again`,
          )
        : new NotFoundError('IMAGE_NOT_FOUND', `pull access denied for ${this.#name}: ${cure}`);
    }
    if (answer.status === 404) {
      const reason = detail === 'NAME_UNKNOWN' ? 'no such repository' : 'manifest unknown';
      return new NotFoundError(
        'IMAGE_NOT_FOUND',
        `manifest for ${familiar(this.#options.reference)} not found: ${reason} on ${registry}`,
      );
    }
    return this.#protocol(`answers with status ${answer.status}${detail ? ` (${detail})` : ''}`);
  }

  #busy(answer: Answer, asked: number | undefined): Error {
    const wait = asked === undefined ? 'try again later' : `try again in ${Math.ceil(asked / 1000)} s`;
    const { registry } = this.#options.reference;
    return answer.status === 429
      ? new RegistryError(
          'REGISTRY_RATE_LIMITED',
          `${registry} limits how often ${this.#name} may be pulled: log in, or ${wait}`,
        )
      : new RegistryError(
          'REGISTRY_UNREACHABLE',
          `${registry} cannot serve ${this.#name} now (status ${answer.status}): ${wait}`,
        );
  }

  #wrongSize({ digest, size }: Descriptor, got: string): ImageError {
    return new ImageError(
      'SIZE_MISMATCH',
      `blob ${digest} of ${this.#name} is ${got} bytes long where the manifest promises ${size}`,
    );
  }

  #protocol(what: string): RegistryError {
    return new RegistryError(
      'REGISTRY_PROTOCOL',
      `the registry ${this.#options.reference.registry} of ${this.#name} ${what}`,
    );
  }

  /** A failure below the protocol as one that names the registry; what has a code of ours stays itself. */
  #unreachable(error: unknown): Error {
    if (error instanceof RegistryError || error instanceof ImageError || error instanceof NotFoundError) return error;
    const { registry } = this.#options.reference;
    return new RegistryError('REGISTRY_UNREACHABLE', `cannot pull ${this.#name}: ${registry}: ${reasonOf(error)}`, {
      cause: error,
    });
  }
}

const reasons: Record<string, string> = {
  ECONNREFUSED: 'connection refused: is the registry running?',
  ECONNRESET: 'the connection broke',
  ENOTFOUND: 'no such host: check the name and the network',
  EAI_AGAIN: 'the name server does not answer: check the network',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'the network is unreachable',
  EPROTO: 'it does not speak https; if it is meant not to, name it as an insecure registry',
  DEPTH_ZERO_SELF_SIGNED_CERT:
    'its certificate is self-signed: trust it (NODE_EXTRA_CA_CERTS) or name it as an insecure registry',
  SELF_SIGNED_CERT_IN_CHAIN:
    'its certificate is of an unknown authority: trust it (NODE_EXTRA_CA_CERTS) or name it as an insecure registry',
  UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    'its certificate is of an unknown authority: trust it (NODE_EXTRA_CA_CERTS) or name it as an insecure registry',
};

function reasonOf(error: unknown): string {
  const { code = '', message } = error as NodeJS.ErrnoException;
  return (Object.hasOwn(reasons, code) ? reasons[code] : undefined) ?? message.split('\n', 1)[0] ?? code;
}

/** The registry's own code for a failure (distribution-spec, "Error Codes"); nothing else of what it says is repeated. */
function errorCode(body: string): string | undefined {
  try {
    const { errors } = JSON.parse(body) as { errors?: { code?: unknown }[] };
    const code = errors?.[0]?.code;
    return typeof code === 'string' && /^[A-Z_]{1,40}$/.test(code) ? code : undefined;
  } catch {
    return undefined;
  }
}

function withoutAuthorization(headers: Record<string, string>): Record<string, string> {
  const { Authorization: _, ...rest } = headers;
  return rest;
}
