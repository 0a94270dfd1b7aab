// A registry that blobs and manifests can be pushed to, in memory, which fails where a test tells it to.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { RegistryClient, type RegistryOptions } from '../../src/registry/client.ts';
import { sha256 } from '../../src/native.ts';
import { parseReference } from '../../src/registry/reference.ts';
import type { Repository } from '../../src/registry/repository.ts';

/** True where it has dealt with the request. `seen` counts from 1 the requests of this method. */
export type Fault = (request: IncomingMessage, response: ServerResponse, seen: number) => boolean;

export class Receiver {
  fault: Fault = () => false;
  readonly requests: { method: string; url: string; headers: IncomingMessage['headers'] }[] = [];
  readonly blobs = new Map<string, Buffer>();
  readonly manifests = new Map<string, { type: string; bytes: Buffer }>();
  /** Open uploads. */
  readonly uploads = new Map<string, Buffer[]>();
  /** More headers of the answer that opens an upload. */
  opening: Record<string, string> = {};
  readonly #server: Server = createServer((request, response) => {
    this.#answer(request, response).catch(() => response.destroy());
  });
  #opened = 0;

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  count(method: string): number {
    return this.requests.filter((request) => request.method === method).length;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }

  /** Takes the rest of a body into an upload. */
  async take(request: IncomingMessage, upload: Buffer[], limit = Infinity): Promise<void> {
    let size = 0;
    for await (const piece of request.iterator({ destroyOnReturn: false })) {
      const bytes = (piece as Buffer).subarray(0, limit - size);
      upload.push(bytes);
      size += bytes.length;
      if (size >= limit) return;
    }
  }

  uploadOf(request: IncomingMessage): Buffer[] | undefined {
    return this.uploads.get(/uploads\/(\w+)/.exec(request.url ?? '')?.[1] ?? '');
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const { method = '', url = '', headers } = request;
    this.requests.push({ method, url, headers });
    if (this.fault(request, response, this.count(method))) return;
    const address = new URL(url, 'http://receiver');
    const [, kind, name = ''] = /^\/v2\/.+?\/(blobs|manifests)\/(.+)$/.exec(address.pathname) ?? [];
    if (url === '/v2/') response.end();
    else if (kind === 'manifests') await this.#manifest(request, response, name);
    else if (kind === 'blobs' && name.startsWith('uploads/')) await this.#upload(request, response, address);
    else if (kind === 'blobs' && this.blobs.has(name)) response.end(this.blobs.get(name));
    else response.writeHead(404).end();
  }

  async #manifest(request: IncomingMessage, response: ServerResponse, name: string): Promise<void> {
    if (request.method === 'PUT') {
      const pieces: Buffer[] = [];
      await this.take(request, pieces);
      const bytes = Buffer.concat(pieces);
      const type = request.headers['content-type'] ?? '';
      for (const key of [name, sha256(bytes)]) this.manifests.set(key, { type, bytes });
      response.writeHead(201, { 'Docker-Content-Digest': sha256(bytes) }).end();
      return;
    }
    const found = this.manifests.get(name);
    if (found) response.setHeader('Content-Type', found.type).end(found.bytes);
    else response.writeHead(404).end();
  }

  async #upload(request: IncomingMessage, response: ServerResponse, address: URL): Promise<void> {
    if (request.method === 'POST') {
      const id = `u${++this.#opened}`;
      this.uploads.set(id, []);
      response.writeHead(202, { Location: `/v2/a/blobs/uploads/${id}?state=0`, ...this.opening }).end();
      return;
    }
    const [id, upload] = [address.pathname.split('/').at(-1)!, this.uploadOf(request)];
    if (!upload) {
      response.writeHead(404).end('{"errors":[{"code":"BLOB_UPLOAD_UNKNOWN"}]}');
      return;
    }
    if (request.method === 'DELETE') {
      this.uploads.delete(id);
      response.writeHead(204).end();
      return;
    }
    const size = (): number => upload.reduce((sum, piece) => sum + piece.length, 0);
    const start = /^(\d+)-/.exec(request.headers['content-range'] ?? '')?.[1];
    if (start !== undefined && Number(start) !== size()) {
      response.writeHead(416).end();
      return;
    }
    await this.take(request, upload);
    const location = `/v2/a/blobs/uploads/${id}?state=${size()}`;
    if (request.method !== 'PUT') {
      const status = request.method === 'GET' ? 204 : 202;
      response.writeHead(status, { Location: location, Range: `0-${Math.max(0, size() - 1)}` }).end();
      return;
    }
    const blob = Buffer.concat(upload);
    const digest = address.searchParams.get('digest');
    if (digest !== sha256(blob)) {
      response.writeHead(400).end('{"errors":[{"code":"DIGEST_INVALID"}]}');
      return;
    }
    this.blobs.set(digest, blob);
    this.uploads.delete(id);
    response.writeHead(201).end();
  }
}

/** Impatient: a server that hangs is found out quickly. */
export function repositoryOf(
  host: string,
  options: RegistryOptions = {},
): { repository: Repository; close: () => void } {
  const client = new RegistryClient({
    env: { HOME: '/nonexistent' },
    patience: { answer: 400, idle: 400 },
    retries: { attempts: 3, first: 5, longest: 10 },
    ...options,
  });
  return { repository: client.repository(parseReference(`${host}/a`)), close: () => client.close() };
}
