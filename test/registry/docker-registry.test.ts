// The writing side against Debian's docker-registry: anonymous, with htpasswd, with tokens of a service of the tests' own.

import { randomBytes } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { RegistryClient } from '../../src/registry/client.ts';
import { sha256 } from '../../src/native.ts';
import { mediaTypes } from '../../src/registry/oci.ts';
import { parseReference } from '../../src/registry/reference.ts';
import type { Repository } from '../../src/registry/repository.ts';
import { authority } from '../harness/certificates.ts';
import { type RegistryOptions, skopeo, TestRegistry } from '../harness/registry.ts';
import { TokenServer } from '../harness/token-server.ts';
import { failure } from './faulty.ts';

const t = suite('docker-registry');
let directory: string;
let client: RegistryClient;

t.before(async () => {
  directory = await mkdtemp(join(process.env.KAPSEL_TEST_SCRATCH ?? tmpdir(), 'writing-'));
});
t.after(() => rm(directory, { recursive: true, force: true }));
t.before.each(async () => {
  const env = { HOME: directory, REGISTRY_AUTH_FILE: join(directory, 'auth.json') };
  await rm(env.REGISTRY_AUTH_FILE, { force: true });
  client = new RegistryClient({ env, retries: { attempts: 2, first: 5 } });
});
t.after.each(() => client.close());

const blob = randomBytes(3 << 20);
const config = Buffer.from('{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}');

async function* inPieces(bytes: Buffer): AsyncGenerator<Buffer, void, undefined> {
  for (let at = 0; at < bytes.length; at += 100_000) yield bytes.subarray(at, at + 100_000);
}

async function logIn(host: string, who: string): Promise<void> {
  const auths = { [host]: { auth: Buffer.from(who).toString('base64') } };
  await writeFile(join(directory, 'auth.json'), JSON.stringify({ auths }));
}

/** An image of one layer that nobody will unpack. */
async function push(repository: Repository, tag = '1'): Promise<string> {
  const layer = await repository.uploadBlob({ open: () => inPieces(blob) });
  const about = await repository.uploadBlob({ open: () => inPieces(config) });
  const manifest = {
    schemaVersion: 2,
    mediaType: mediaTypes.ociManifest,
    config: { mediaType: mediaTypes.ociConfig, ...about },
    layers: [{ mediaType: 'application/vnd.oci.image.layer.v1.tar', ...layer }],
  };
  return await repository.putManifest(tag, Buffer.from(JSON.stringify(manifest)), mediaTypes.ociManifest);
}

async function withRegistry(options: RegistryOptions, work: (registry: TestRegistry) => Promise<void>): Promise<void> {
  const registry = await TestRegistry.start(options);
  try {
    await work(registry);
  } finally {
    await registry.close();
  }
}

const at = (registry: TestRegistry, name: string) => client.repository(parseReference(`${registry.host}/${name}`));
const collect = async (names: AsyncIterable<string>): Promise<string[]> => {
  const all: string[] = [];
  for await (const name of names) all.push(name);
  return all.sort();
};

t('anonymous: what is pushed is there for skopeo, tagged, listed, mounted elsewhere', () =>
  withRegistry({}, async (registry) => {
    const repository = at(registry, 'some/where');
    const digest = await push(repository);
    await push(repository, '2');
    const seen = await skopeo('inspect', '--tls-verify=false', '--raw', `docker://${registry.host}/some/where:1`);
    assert.is(sha256(Buffer.from(seen)), digest);
    assert.equal(await collect(repository.tags()), ['1', '2']);
    const other = at(registry, 'else/where');
    assert.not(await other.hasBlob(sha256(blob)));
    assert.ok(await other.mountBlob(sha256(blob), 'some/where'));
    assert.ok(await other.hasBlob(sha256(blob)));
    assert.not(await other.mountBlob(`sha256:${'0'.repeat(64)}`, 'some/where'));
    assert.equal(await collect(client.catalogue(registry.host)), ['else/where', 'some/where']);
    assert.equal(await repository.referrers(digest), []);
    const artifact = {
      schemaVersion: 2,
      mediaType: mediaTypes.ociManifest,
      artifactType: 'application/x-signature',
      config: { mediaType: mediaTypes.ociConfig, digest: sha256(config), size: config.length },
      layers: [],
      subject: { mediaType: mediaTypes.ociManifest, digest, size: seen.length },
    };
    const bytes = Buffer.from(JSON.stringify(artifact));
    await repository.putManifest(sha256(bytes), bytes, mediaTypes.ociManifest);
    assert.equal(
      (await repository.referrers(digest)).map(({ digest: found, artifactType }) => [found, artifactType]),
      [[sha256(bytes), 'application/x-signature']],
    );
  }),
);

t('a catalogue in pages', () =>
  withRegistry({}, async (registry) => {
    const names = Array.from({ length: 104 }, (_, index) => `r${String(index).padStart(3, '0')}`);
    for (const name of names) await at(registry, name).uploadBlob({ open: () => inPieces(config) });
    assert.equal(await collect(client.catalogue(registry.host)), names);
  }),
);

t('htpasswd: refused without, refused with another password, taken with the right one', () =>
  withRegistry({ login: { username: 'me', password: 'secret' } }, async (registry) => {
    await failure(
      push(at(registry, 'a')),
      'REGISTRY_DENIED',
      /push access denied for .*no credentials for .* are stored/,
    );
    await logIn(registry.host, 'me:wrong');
    await failure(push(at(registry, 'a')), 'REGISTRY_UNAUTHORIZED', /refused the stored credentials/);
    await logIn(registry.host, 'me:secret');
    await push(at(registry, 'a'));
    assert.equal(await collect(client.catalogue(registry.host)), ['a']);
  }),
);

t('tokens: one for reading, one for writing, one for a mount, and none for what is another’s', async () => {
  const ca = await authority(directory);
  const service = await new TokenServer(ca, {
    users: { me: 'secret', you: 'too' },
    grant: (user, type, name, actions) => {
      if (type === 'registry') return user === 'me' ? actions : [];
      if (name.startsWith('public/')) return user === 'me' ? actions : actions.filter((action) => action === 'pull');
      return user !== undefined && name.startsWith(`${user}/`) ? actions : [];
    },
  }).start();
  try {
    await withRegistry({ tokens: { realm: service.realm, certificate: ca.certificate } }, async (registry) => {
      await failure(push(at(registry, 'public/a')), 'REGISTRY_DENIED', /push access denied/);
      await logIn(registry.host, 'me:wrong');
      await failure(push(at(registry, 'public/a')), 'REGISTRY_UNAUTHORIZED', /refused the stored credentials/);
      await logIn(registry.host, 'me:secret');
      service.requests.length = 0;
      await push(at(registry, 'public/a'));
      assert.equal(service.requests, [{ user: 'me', scopes: ['repository:public/a:pull,push'] }]);
      await logIn(registry.host, 'you:too');
      await failure(push(at(registry, 'public/a')), 'REGISTRY_DENIED', /the stored credentials do not allow it/);
      const mine = at(registry, 'you/b');
      service.requests.length = 0;
      assert.ok(await mine.mountBlob(sha256(blob), 'public/a'));
      assert.equal(service.requests.at(-1)?.scopes, ['repository:you/b:pull,push', 'repository:public/a:pull']);
      assert.not(await mine.mountBlob(sha256(config), 'me/secret'), 'what may not be read is not mounted');
      await push(mine);
      await failure(collect(client.catalogue(registry.host)), 'REGISTRY_DENIED', /search access denied/);
      const password = (username: string, secret: string) => ({
        kind: 'password' as const,
        username,
        password: secret,
      });
      await client.login(registry.host, password('you', 'too'));
      await failure(
        client.login(registry.host, password('you', 'secret')),
        'REGISTRY_UNAUTHORIZED',
        /login to .* failed: invalid username\/password/,
      );
      await logIn(registry.host, 'me:secret');
      assert.equal(await collect(client.catalogue(registry.host)), ['public/a', 'you/b']);
    });
  } finally {
    await service.close();
  }
});

t.run();
