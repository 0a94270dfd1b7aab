// containerd's hosts.toml (containerd: docs/hosts.md): mirrors of a registry, and how each host is spoken to.
// Loaded where there is one: the TOML parser comes with it.

import { dirname, resolve } from 'node:path';
import { parse } from 'smol-toml';
import { invalid, read } from './certs-d.ts';
import { checked, type Endpoint, endpoints, type Tls } from './endpoint.ts';
import { type Capability, everything, type Host } from './host.ts';

/** What can be said of the registry itself, at the top, and of each mirror in its table. */
interface Settings {
  capabilities?: unknown;
  ca?: unknown;
  client?: unknown;
  skip_verify?: unknown;
  override_path?: unknown;
  header?: unknown;
}

const mirroring: ReadonlySet<Capability> = new Set(['pull', 'resolve']);

/** `path` is where the text is from: names of files are meant from there. */
export function parseHosts(text: string, path: string, registry: string, tlsVerify: boolean | undefined): Host[] {
  let document: Settings & { server?: unknown; host?: unknown };
  try {
    document = parse(text);
  } catch (error) {
    throw invalid(`${path} is no valid TOML: ${(error as Error).message.split('\n', 1)[0]}`, error);
  }
  const reader = new Reader(path);
  const { server, host = {} } = document;
  if (typeof host !== 'object' || host === null) throw reader.wrong('host is no table');
  const hosts: Host[] = [];
  for (const [address, settings] of Object.entries(host)) {
    // `[host]` alone is allowed to be there.
    if (typeof settings !== 'object' || settings === null) throw reader.wrong(`host."${address}" is no table`);
    hosts.push({ ...reader.host(address, settings, mirroring), namespace: registry });
  }
  return [...hosts, reader.server(server, document, registry, tlsVerify)];
}

class Reader {
  readonly #path: string;

  constructor(path: string) {
    this.#path = path;
  }

  wrong(what: string): Error {
    return invalid(`${this.#path} cannot be used: ${what}`);
  }

  host(address: string, settings: Settings, usual: ReadonlySet<Capability>): Host {
    const url = this.#url(address);
    const tls = this.#tls(settings);
    return {
      name: url.host,
      endpoints: [{ root: this.#root(url, settings), tls }],
      capabilities: this.#capabilities(settings, usual),
      headers: this.#headers(settings),
    };
  }

  /** The registry itself, or what stands in its place. */
  server(server: unknown, settings: Settings, registry: string, tlsVerify: boolean | undefined): Host {
    if (server !== undefined && typeof server !== 'string') throw this.wrong('server is no string');
    const tls = this.#tls(settings);
    const itself = endpoints(registry, tlsVerify, tls);
    const common = { capabilities: this.#capabilities(settings, everything), headers: this.#headers(settings) };
    if (server === undefined) return { name: registry, endpoints: itself, ...common };
    const url = this.#url(server);
    const root = this.#root(url, settings);
    const ways: Endpoint[] =
      tlsVerify === false
        ? [
            { root, tls: { ...tls, verify: false } },
            { root: root.replace(/^https:/, 'http:'), tls },
          ]
        : [{ root, tls }];
    // Credentials are for a host: the registry's own are for no other.
    const isItself = itself.some((endpoint) => new URL(endpoint.root).host === url.host);
    if (isItself) return { name: registry, endpoints: ways, ...common };
    return { name: url.host, endpoints: ways, ...common, namespace: registry };
  }

  #url(address: string): URL {
    const text = /^[a-z]+:\/\//.test(address) ? address : `https://${address}`;
    const url = URL.canParse(text) ? new URL(text) : undefined;
    if (url && /^https?:$/.test(url.protocol) && !url.username && !url.search) return url;
    throw this.wrong(`${JSON.stringify(address)} is no address of a host`);
  }

  /** containerd adds the protocol's /v2 unless it is there or the path is said to be all of it. */
  #root(url: URL, { override_path: isWhole = false }: Settings): string {
    if (typeof isWhole !== 'boolean') throw this.wrong('override_path is neither true nor false');
    const path = url.pathname.replace(/\/+$/, '');
    return `${url.origin}${path}${isWhole || path.endsWith('/v2') ? '' : '/v2'}`;
  }

  #capabilities({ capabilities }: Settings, usual: ReadonlySet<Capability>): ReadonlySet<Capability> {
    if (capabilities === undefined) return usual;
    const isKnown = (word: unknown): word is Capability => everything.has(word as Capability);
    if (Array.isArray(capabilities) && capabilities.every(isKnown)) return new Set(capabilities);
    throw this.wrong('capabilities are a list of "pull", "resolve" and "push"');
  }

  #headers({ header = {} }: Settings): Record<string, string> {
    const headers: Record<string, string> = {};
    if (typeof header !== 'object' || header === null) throw this.wrong('header is no table');
    for (const [name, value] of Object.entries(header)) {
      const values = strings(value);
      if (!values || !/^[\w!#$%&'*+.^`|~-]+$/.test(name) || values.some((text) => /[^\t\x20-\x7e]/.test(text)))
        throw this.wrong(`header.${name} is no header`);
      headers[name] = values.join(', ');
    }
    return headers;
  }

  #tls({ ca, client, skip_verify: skip = false }: Settings): Tls {
    if (typeof skip !== 'boolean') throw this.wrong('skip_verify is neither true nor false');
    if (ca === undefined && client === undefined && !skip) return checked;
    const authorities = ca === undefined ? undefined : strings(ca);
    if (ca !== undefined && !authorities) throw this.wrong('ca is a file, or a list of files');
    const [cert, key] = this.#client(client);
    return {
      verify: !skip,
      ...(authorities && { ca: authorities.map((file) => this.#file(file)) }),
      ...(cert !== undefined && { cert: this.#file(cert), key: this.#file(key ?? cert) }),
    };
  }

  /** "both.pem", ["one.pem", …] or [["cert.pem", "key.pem"], …]; Node shows one certificate, the first. */
  #client(client: unknown): [cert?: string, key?: string] {
    if (client === undefined) return [];
    const first: unknown = Array.isArray(client) ? client[0] : client;
    const [cert, key] = strings(first) ?? [];
    if (cert === undefined) throw this.wrong('client is a file, or a list of files or of pairs of them');
    return key ? [cert, key] : [cert];
  }

  #file(name: string): string {
    return read(resolve(dirname(this.#path), name));
  }
}

function strings(value: unknown): string[] | undefined {
  const list: unknown[] = Array.isArray(value) ? value : [value];
  return list.every((one): one is string => typeof one === 'string') ? list : undefined;
}
