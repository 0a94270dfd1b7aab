// Real registries for tests: Debian's docker-registry on a loopback port of the kernel's choice, and skopeo to fill it.

import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import type { Certificate } from './certificates.ts';
import { TokenServer } from './token-server.ts';

const execute = promisify(execFile);

export interface RegistryOptions {
  /** Asks for this user and password. */
  login?: { username: string; password: string };
  /** Wants tokens of this service, signed for this certificate. */
  tokens?: { realm: string; certificate: string };
  /** Speaks https. `clients`: and only with whom this authority vouches for. */
  tls?: Certificate & { clients?: string };
  /** Is a pull-through mirror of the registry at this address. */
  mirrorOf?: string;
}

export class TestRegistry {
  /** `127.0.0.1:PORT`. */
  readonly host: string;
  readonly #directory: string;
  readonly #process: ChildProcess;
  readonly #login: RegistryOptions['login'];

  private constructor(host: string, directory: string, child: ChildProcess, login: RegistryOptions['login']) {
    this.host = host;
    this.#directory = directory;
    this.#process = child;
    this.#login = login;
  }

  static async start({ login, tokens, tls, mirrorOf }: RegistryOptions = {}): Promise<TestRegistry> {
    const directory = await mkdtemp(join(process.env.KAPSEL_TEST_SCRATCH ?? tmpdir(), 'registry-'));
    const htpasswd = join(directory, 'htpasswd');
    if (login) await writeFile(htpasswd, `${login.username}:${await bcrypt(login.password)}\n`);
    const config = {
      version: 0.1,
      log: { level: 'info' },
      storage: { filesystem: { rootdirectory: join(directory, 'data') }, delete: { enabled: true } },
      http: {
        addr: '127.0.0.1:0',
        ...(tls && {
          tls: { certificate: tls.certificate, key: tls.key, ...(tls.clients && { clientcas: [tls.clients] }) },
        }),
      },
      ...(mirrorOf && { proxy: { remoteurl: mirrorOf } }),
      ...(login && { auth: { htpasswd: { realm: 'a test', path: htpasswd } } }),
      ...(tokens && {
        auth: {
          token: {
            realm: tokens.realm,
            service: TokenServer.service,
            issuer: TokenServer.issuer,
            rootcertbundle: tokens.certificate,
          },
        },
      }),
    };
    await mkdir(join(directory, 'data'));
    // JSON is YAML.
    await writeFile(join(directory, 'config.yml'), JSON.stringify(config));
    const child = spawn('docker-registry', ['serve', join(directory, 'config.yml')], {
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    const host = await listening(child);
    return new TestRegistry(host, directory, child, login);
  }

  /** Copies an image in with skopeo; `source` is any of its transports. */
  async push(source: string, repository: string, options: string[] = []): Promise<void> {
    const credentials = this.#login ? ['--dest-creds', `${this.#login.username}:${this.#login.password}`] : [];
    await skopeo(
      'copy',
      ...options,
      ...credentials,
      '--dest-tls-verify=false',
      source,
      `docker://${this.host}/${repository}`,
    );
  }

  async close(): Promise<void> {
    this.#process.kill('SIGTERM');
    if (this.#process.exitCode === null) await once(this.#process, 'exit');
    await rm(this.#directory, { recursive: true, force: true });
  }
}

export async function skopeo(...args: string[]): Promise<string> {
  const { stdout } = await execute('skopeo', ['--insecure-policy', ...args]);
  return stdout;
}

/** The line in which the registry says where it listens. */
async function listening(child: ChildProcess): Promise<string> {
  let said = '';
  return await new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', () => reject(new Error(`docker-registry did not start: ${said}`)));
    child.stderr!.setEncoding('utf8').on('data', (text: string) => {
      said = (said + text).slice(-10_000);
      const host = /listening on (127\.0\.0\.1:\d+)/.exec(said)?.[1];
      if (host) resolve(host);
    });
  });
}

/** libcrypt's bcrypt, through perl, which every Debian has. */
async function bcrypt(password: string): Promise<string> {
  const { stdout } = await execute('perl', ['-e', 'print crypt($ARGV[0], q($2b$05$kapselkapselkapselkapO))', password]);
  if (!stdout.startsWith('$2b$')) throw new Error('this libcrypt has no bcrypt');
  return stdout;
}
