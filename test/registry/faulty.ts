// A registry that lies where a test tells it to, over an OCI layout, and a store that shows whether anything was left.

import { existsSync, readFileSync, readdirSync } from 'node:fs';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type RequestListener, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { Images } from '../../src/engine/images.ts';
import { Database } from '../../src/native.ts';
import type { RegistryOptions } from '../../src/registry/client.ts';
import type { Descriptor, Index, Manifest } from '../../src/registry/oci.ts';

/** True where it has dealt with the request. */
export type Fault = (request: IncomingMessage, response: ServerResponse, seen: number) => boolean;

export class FaultyRegistry {
  /** Changed by tests at will; `seen` counts from 1 the requests for the same thing. */
  fault: Fault = () => false;
  readonly requests: { url: string; headers: IncomingMessage['headers'] }[] = [];
  readonly #layout: string;
  readonly #server: Server;

  constructor(layout: string, serve: (listener: RequestListener) => Server = createServer) {
    this.#layout = layout;
    this.#server = serve((request, response) => this.#answer(request, response));
  }

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  reset(): void {
    this.fault = () => false;
    this.requests.length = 0;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  blob(digest: string): Buffer {
    return readFileSync(join(this.#layout, 'blobs', ...digest.split(':')));
  }

  /** What the layout's index.json names. */
  get root(): Descriptor {
    return (JSON.parse(readFileSync(join(this.#layout, 'index.json'), 'utf8')) as Index).manifests[0]!;
  }

  get manifest(): Manifest {
    return JSON.parse(this.blob(this.root.digest).toString()) as Manifest;
  }

  /** How often a path was asked for. */
  count(part: string): number {
    return this.requests.filter(({ url }) => url.includes(part)).length;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const url = request.url ?? '';
    this.requests.push({ url, headers: request.headers });
    if (this.fault(request, response, this.requests.filter((one) => one.url === url).length)) return;
    if (url === '/v2/') {
      response.end('{}');
      return;
    }
    const [, kind, name] = /^\/v2\/.+\/(manifests|blobs)\/([^/?]+)/.exec(url) ?? [];
    const digest = name?.startsWith('sha256:') ? name : this.root.digest;
    if (kind === undefined || !existsSync(join(this.#layout, 'blobs', ...digest.split(':')))) {
      response.writeHead(404).end('{"errors":[{"code":"MANIFEST_UNKNOWN"}]}');
      return;
    }
    const bytes = this.blob(digest);
    if (kind === 'manifests') sendManifest(response, bytes);
    else sendBlob(response, bytes, request.headers.range);
  }
}

export function sendManifest(response: ServerResponse, bytes: Buffer): void {
  const { mediaType } = JSON.parse(bytes.toString()) as { mediaType: string };
  response.setHeader('Content-Type', mediaType).end(bytes);
}

export function sendBlob(response: ServerResponse, bytes: Buffer, range?: string): void {
  const from = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0);
  if (from > 0) {
    response.statusCode = 206;
    response.setHeader('Content-Range', `bytes ${from}-${bytes.length - 1}/${bytes.length}`);
  }
  response.setHeader('Content-Length', bytes.length - from).end(bytes.subarray(from));
}

/** Sends the beginning, then breaks the connection. */
export function breakAt(response: ServerResponse, bytes: Buffer, at: number): void {
  response.setHeader('Content-Length', bytes.length);
  response.write(bytes.subarray(0, at), () => setTimeout(() => response.socket?.resetAndDestroy(), 5));
  response.flushHeaders();
}

/** Images over a store of the test's own. Impatient, so that a server that hangs is found out quickly. */
export class TestStore {
  readonly root: string;
  readonly database: Database;
  readonly images: Images;

  private constructor(root: string, options: RegistryOptions) {
    this.root = root;
    this.database = new Database(join(root, 'kapsel.db'));
    this.images = new Images(
      { root, database: this.database, insecureRegistries: options.insecure },
      {
        env: { HOME: root },
        patience: { answer: 400, idle: 400 },
        retries: { attempts: 3, first: 5, longest: 10 },
        ...options,
      },
    );
  }

  static async make(options: RegistryOptions = {}): Promise<TestStore> {
    return new TestStore(await mkdtemp(join(process.env.KAPSEL_TEST_SCRATCH ?? tmpdir(), 'store-')), options);
  }

  /** Every file of the store that is not the database, and every row of it. */
  contents(): string[] {
    const list = (name: string) => {
      const path = join(this.root, name);
      return existsSync(path) ? readdirSync(path).map((entry) => `${name}/${entry}`) : [];
    };
    return [
      ...['layers', 'tmp', 'blobs/sha256'].flatMap(list),
      ...this.database.images().map(({ id }) => `image ${id}`),
      ...this.database.layers().map(({ diffId }) => `layer ${diffId}`),
    ];
  }

  async close(): Promise<void> {
    this.images.close();
    this.database.close();
    await rm(this.root, { recursive: true, force: true });
  }
}

/** The error of a promise that must fail: one line, with this code. */
export async function failure(promise: Promise<unknown>, code: string, words: RegExp = /./): Promise<Error> {
  const error = await promise.then(
    () => assert.unreachable(`it worked, where ${code} was expected`) as never,
    (reason: Error & { code?: string }) => reason,
  );
  assert.is(error.code, code, `${error.code}: ${error.stack}`);
  assert.match(error.message, words);
  assert.not.match(error.message, /\n/);
  return error;
}
