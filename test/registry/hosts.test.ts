// certs.d: mirrors by hosts.toml, and private authorities and client certificates, against Debian's docker-registry.

import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { certsDirectories, hostsOf } from '../../src/registry/certs-d.ts';
import { authority, type Certificate, certify } from '../harness/certificates.ts';
import { run } from '../harness/engine.ts';
import { busyboxFacts, busyboxLayers, ociLayout } from '../harness/images.ts';
import { TestRegistry } from '../harness/registry.ts';
import { RegistryClient } from '../../src/registry/client.ts';
import { parseReference } from '../../src/registry/reference.ts';
import { Receiver } from './receiver.ts';
import { failure, FaultyRegistry, sendBlob, TestStore } from './faulty.ts';

const t = suite('certs.d');
let directory: string;
let layout: string;
let ca: Certificate;
let server: Certificate;
let store: TestStore;
let certs: string;

t.before(async () => {
  directory = await mkdtemp(join(process.env.KAPSEL_TEST_SCRATCH ?? tmpdir(), 'hosts-'));
  const layers = await busyboxLayers(directory);
  layout = await ociLayout(join(directory, 'layout'), [{ layers, config: busyboxFacts.config }]);
  ca = await authority(directory);
  server = await certify(directory, 'server', ca);
});
t.after(() => rm(directory, { recursive: true, force: true }));
t.before.each(async () => {
  certs = await mkdtemp(join(directory, 'certs-'));
  const patience = { answer: 3_000, idle: 3_000 };
  store = await TestStore.make({ certsDirectories: [join(directory, 'nothing'), certs], patience });
});
t.after.each(() => store.close());

async function say(registry: string, toml: string): Promise<void> {
  await mkdir(join(certs, registry), { recursive: true });
  await writeFile(join(certs, registry, 'hosts.toml'), toml);
}

async function pulls(reference: string, options = {}): Promise<void> {
  assert.is((await store.images.pull(reference, options)).layers.length, busyboxFacts.layers);
}

async function mirrored(work: (mirror: FaultyRegistry, registry: FaultyRegistry) => Promise<void>): Promise<void> {
  const [mirror, registry] = [await new FaultyRegistry(layout).start(), await new FaultyRegistry(layout).start()];
  try {
    await say(registry.host, `server = "http://${registry.host}"\n[host."http://${mirror.host}"]\n`);
    await work(mirror, registry);
  } finally {
    await mirror.close();
    await registry.close();
  }
}

t('a registry of a private authority, by ca.crt', async () => {
  const registry = await TestRegistry.start({ tls: server });
  try {
    const name = `${registry.host}/a:1`;
    await registry.push(`oci:${layout}`, 'a:1', ['--dest-tls-verify=false']);
    await failure(store.images.pull(name), 'REGISTRY_UNREACHABLE', /unknown authority: trust it \(ca\.crt in certs\.d/);
    await mkdir(join(certs, registry.host));
    await writeFile(join(certs, registry.host, 'ca.crt'), await readFile(ca.certificate));
    await pulls(name);
  } finally {
    await registry.close();
  }
});

t('a private authority that the machine trusts is trusted', async () => {
  const registry = await TestRegistry.start({ tls: server });
  try {
    const script = `
      import { RegistryClient } from ${JSON.stringify(new URL('../../src/registry/client.ts', import.meta.url).href)};
      const client = new RegistryClient({ env: { HOME: '/nonexistent' }, certsDirectories: [${JSON.stringify(certs)}] });
      try { for await (const name of client.catalogue('${registry.host}')) console.log(name); console.log('done'); }
      catch (error) { console.log(error.message); }
      client.close();`;
    const ask = (env: Record<string, string>) =>
      run(process.execPath, ['--input-type=module', '--eval', script], { env });
    assert.match((await ask({})).stdout, /unknown authority/);
    assert.is((await ask({ SSL_CERT_FILE: ca.certificate })).stdout, 'done\n');
    // One that is named for this registry is trusted besides the known ones, not instead of them.
    await mkdir(join(certs, registry.host));
    const other = await authority(directory, 'other');
    await writeFile(join(certs, registry.host, 'ca.crt'), await readFile(other.certificate));
    assert.match((await ask({})).stdout, /unknown authority/);
    assert.is((await ask({ NODE_EXTRA_CA_CERTS: ca.certificate })).stdout, 'done\n');
  } finally {
    await registry.close();
  }
});

t('a registry that wants to see a certificate: Docker’s files, and hosts.toml', async () => {
  const clients = await authority(directory, 'clients');
  const client = await certify(directory, 'client', clients);
  const registry = await TestRegistry.start({ tls: { ...server, clients: clients.certificate } });
  try {
    const at = join(certs, registry.host);
    await mkdir(at);
    await writeFile(join(at, 'ca.crt'), await readFile(ca.certificate));
    await failure(store.images.pull(`${registry.host}/a:1`), 'REGISTRY_UNREACHABLE');
    await writeFile(join(at, 'client.cert'), await readFile(client.certificate));
    await failure(store.images.pull(`${registry.host}/a:1`), 'REGISTRY_CONFIG_INVALID', /has no client\.key beside it/);
    await writeFile(join(at, 'client.key'), await readFile(client.key));
    // Nobody can push there but with the certificate: that it is not there is the registry's own answer.
    await failure(store.images.pull(`${registry.host}/a:1`), 'IMAGE_NOT_FOUND', /manifest unknown|no such repository/);
    await say(
      registry.host,
      `server = "https://${registry.host}"\nca = "${ca.certificate}"\nclient = [["client.cert", "client.key"]]\n`,
    );
    await failure(store.images.pull(`${registry.host}/a:1`), 'IMAGE_NOT_FOUND', /manifest unknown|no such repository/);
  } finally {
    await registry.close();
  }
});

t('an unknown certificate: skip_verify, --tls-verify=false, KAPSEL_INSECURE_REGISTRIES', async () => {
  const registry = await TestRegistry.start({ tls: server });
  const lax = await TestStore.make({
    env: { HOME: directory, KAPSEL_INSECURE_REGISTRIES: `x.example, ${registry.host}` },
  });
  try {
    await registry.push(`oci:${layout}`, 'a:1', ['--dest-tls-verify=false']);
    const name = `${registry.host}/a:1`;
    await failure(store.images.pull(name), 'REGISTRY_UNREACHABLE', /unknown authority/);
    assert.is((await lax.images.pull(name)).layers.length, busyboxFacts.layers);
    await say(registry.host, `server = "https://${registry.host}"\nskip_verify = true\n`);
    await pulls(name);
  } finally {
    await lax.close();
    await registry.close();
  }
});

t('a mirror is asked first, and told whom it stands for', () =>
  mirrored(async (mirror, registry) => {
    await pulls(`${registry.host}/a/b:1`);
    assert.equal(registry.requests, []);
    assert.ok(mirror.requests.length >= 5);
    for (const { url } of mirror.requests) {
      assert.is(new URL(url, 'http://x').searchParams.get('ns'), registry.host, url);
    }
  }),
);

t('headers, and a path that is all of the path', () =>
  mirrored(async (mirror, registry) => {
    const address = `http://${mirror.host}/v2/proxy`;
    await say(
      registry.host,
      `[host."${address}"]\n  override_path = true\n  [host."${address}".header]\n  X-Key = ["one", "two"]\n`,
    );
    await pulls(`${registry.host}/a/b:1`);
    assert.equal(registry.requests, []);
    for (const { url, headers } of mirror.requests) {
      assert.match(url, /^\/v2\/proxy\/a\/b\//);
      assert.is(headers['x-key'], 'one, two');
    }
  }),
);

for (const [name, fault] of [
  ['is not there', undefined],
  ['does not have it', (_, response) => (response.writeHead(404).end(), true)],
  ['refuses', (_, response) => (response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="x"' }).end(), true)],
  ['is busy', (_, response) => (response.writeHead(429, { 'Retry-After': '60' }).end(), true)],
  ['is broken', (_, response) => (response.writeHead(500).end(), true)],
  ['hangs', () => true],
  ['lies about tags', (_, response) => (response.setHeader('Content-Type', 'text/html').end('<html>'), true)],
] as [string, FaultyRegistry['fault'] | undefined][]) {
  t(`a mirror that ${name} is passed over`, () =>
    mirrored(async (mirror, registry) => {
      if (fault) mirror.fault = fault;
      else await say(registry.host, `server = "http://${registry.host}"\n[host."http://127.0.0.1:1"]\n`);
      await pulls(`${registry.host}/a/b:1`);
    }),
  );
}

t('a mirror that breaks in the middle of a layer: the rest comes from the registry', () =>
  mirrored(async (mirror, registry) => {
    const { digest } = mirror.manifest.layers[0]!;
    mirror.fault = (request, response) => {
      if (!request.url?.includes(digest)) return false;
      const bytes = mirror.blob(digest);
      response.setHeader('Content-Length', bytes.length).write(bytes.subarray(0, 500_000), () => response.destroy());
      return true;
    };
    await pulls(`${registry.host}/a/b:1`);
    assert.match(registry.requests.find(({ url }) => url.includes(digest))!.headers.range!, /^bytes=[1-9]/);
  }),
);

t('a mirror whose bytes are wrong: the registry is asked for them', () =>
  mirrored(async (mirror, registry) => {
    const { digest } = mirror.manifest.layers[1]!;
    mirror.fault = (request, response) => {
      if (!request.url?.includes(digest)) return false;
      const bytes = Buffer.from(mirror.blob(digest));
      bytes[4]! ^= 1; // gzip's time stamp
      sendBlob(response, bytes);
      return true;
    };
    await pulls(`${registry.host}/a/b:1`);
    assert.is(registry.count(digest), 1);
    assert.is(registry.requests.length, 1, 'for nothing else');
  }),
);

t('where all fail, the registry’s own word counts', () =>
  mirrored(async (mirror, registry) => {
    mirror.fault = (_, response) => (response.writeHead(500).end(), true);
    registry.fault = (_, response) => (response.writeHead(404).end(), true);
    await failure(store.images.pull(`${registry.host}/a/b:1`), 'IMAGE_NOT_FOUND', new RegExp(`on ${registry.host}`));
  }),
);

t('credentials are for their own host', () =>
  mirrored(async (mirror, registry) => {
    const auth = (text: string) => ({ auth: Buffer.from(text).toString('base64') });
    await writeFile(
      join(store.root, 'auth.json'),
      JSON.stringify({ auths: { [registry.host]: auth('me:registry'), [mirror.host]: auth('me:mirror') } }),
    );
    const known = await TestStore.make({
      certsDirectories: [certs],
      env: { REGISTRY_AUTH_FILE: join(store.root, 'auth.json') },
    });
    const challenge: FaultyRegistry['fault'] = (request, response) => {
      if (request.headers.authorization && !request.url?.includes(mirror.manifest.layers[0]!.digest)) return false;
      response.writeHead(request.headers.authorization ? 404 : 401, { 'WWW-Authenticate': 'Basic realm="x"' }).end();
      return true;
    };
    mirror.fault = challenge;
    registry.fault = (...all) => !all[0].headers.authorization && challenge(...all);
    await known.images.pull(`${registry.host}/a/b:1`);
    await known.close();
    const seen = (one: FaultyRegistry) => new Set(one.requests.flatMap(({ headers }) => headers.authorization ?? []));
    assert.equal([...seen(mirror)], [`Basic ${auth('me:mirror').auth}`]);
    assert.equal([...seen(registry)], [`Basic ${auth('me:registry').auth}`]);
  }),
);

t('a mirror that resolves no tags gives only what has a digest', () =>
  mirrored(async (mirror, registry) => {
    await say(
      registry.host,
      `server = "http://${registry.host}"\n[host."http://${mirror.host}"]\ncapabilities = ["pull"]\n`,
    );
    await pulls(`${registry.host}/a/b:1`);
    assert.equal(
      registry.requests.map(({ url }) => url),
      ['/v2/a/b/manifests/1'],
    );
  }),
);

t('what is written goes to the registry, unless a mirror says that it takes it', async () => {
  const [mirror, registry] = [await new Receiver().start(), await new Receiver().start()];
  const client = new RegistryClient({ certsDirectories: [certs], env: { HOME: directory } });
  const push = () => client.repository(parseReference(`${registry.host}/a`)).putManifest('1', Buffer.from('{}'), 'x');
  try {
    await say(registry.host, `server = "http://${registry.host}"\n[host."http://${mirror.host}"]\n`);
    await push();
    assert.is(mirror.requests.length, 0);
    assert.ok(registry.manifests.has('1'));
    await say(registry.host, `[host."http://${mirror.host}"]\ncapabilities = ["pull", "resolve", "push"]\n`);
    await push();
    assert.ok(mirror.manifests.has('1'));
  } finally {
    client.close();
    await mirror.close();
    await registry.close();
  }
});

t('a pull-through mirror of docker-registry’s', async () => {
  const registry = await TestRegistry.start();
  try {
    await registry.push(`oci:${layout}`, 'library/busybox:1');
    const mirror = await TestRegistry.start({ mirrorOf: `http://${registry.host}` });
    try {
      await say('docker.io', `server = "http://127.0.0.1:1"\n[host."http://${mirror.host}"]\n`);
      await pulls('busybox:1');
      assert.equal(store.images.inspect('busybox:1').RepoTags, ['busybox:1']);
    } finally {
      await mirror.close();
    }
  } finally {
    await registry.close();
  }
});

t('_default is for whatever has no directory of its own', async () => {
  await say('_default', '[host."https://mirror.example"]\n');
  await say('r.example', 'server = "https://other.example"\n');
  const hosts = async (registry: string) =>
    (await hostsOf(registry, [certs], undefined)).map(({ name, endpoints }) => [name, endpoints[0]!.root]);
  assert.equal(await hosts('q.example'), [
    ['mirror.example', 'https://mirror.example/v2'],
    ['q.example', 'https://q.example/v2'],
  ]);
  assert.equal(await hosts('r.example'), [['other.example', 'https://other.example/v2']]);
  await say('docker.io', 'server = "https://registry-1.docker.io"\n');
  assert.equal(
    await hosts('docker.io'),
    [['docker.io', 'https://registry-1.docker.io/v2']],
    'itself, with its credentials',
  );
});

t('where the machine keeps them', () => {
  assert.equal(certsDirectories({ HOME: '/h' }), [
    '/h/.config/kapsel/certs.d',
    '/h/.config/containers/certs.d',
    '/etc/kapsel/certs.d',
    '/etc/containerd/certs.d',
    '/etc/docker/certs.d',
    '/etc/containers/certs.d',
  ]);
  assert.is(certsDirectories({ XDG_CONFIG_HOME: '/x' })[0], '/x/kapsel/certs.d');
});

for (const [name, toml, words] of [
  ['no TOML', 'server = ', /no valid TOML/],
  ['a server of another kind', 'server = 3', /server is no string/],
  ['an address that is none', 'server = "file:///etc"', /no address of a host/],
  ['a password in an address', '[host."https://a:b@r.example"]', /no address of a host/],
  ['an unknown capability', '[host."https://m"]\ncapabilities = ["fly"]', /capabilities are a list/],
  ['a header with a line break', '[header]\nx = "a\\nb"', /header\.x is no header/],
  ['a certificate that is not there', 'ca = "nothing.pem"', /cannot read .*nothing\.pem/],
  ['skip_verify of another kind', 'skip_verify = "yes"', /skip_verify is neither/],
  ['no capability at all', 'capabilities = []', /no host for .* can resolve/],
] as const) {
  t(`hosts.toml with ${name}`, async () => {
    await say('r.example', toml);
    await failure(store.images.pull('r.example/a'), 'REGISTRY_CONFIG_INVALID', words);
  });
}

t('a redirect from a mirror to another host goes without its headers', () =>
  mirrored(async (mirror, registry) => {
    const address = `http://${mirror.host}`;
    await say(registry.host, `[host."${address}"]\n  [host."${address}".header]\n  X-Key = "secret"\n`);
    const blob = /\/blobs\/(.+?)(\?|$)/;
    mirror.fault = (request, response) => {
      const digest = blob.exec(request.url ?? '')?.[1];
      if (digest === undefined) return false;
      response.writeHead(307, { Location: `http://${registry.host}/v2/elsewhere/blobs/${digest}` }).end();
      return true;
    };
    await pulls(`${registry.host}/a/b:1`);
    assert.ok(mirror.requests.every(({ headers }) => headers['x-key'] === 'secret'));
    const followed = registry.requests.filter(({ url }) => url.includes('/elsewhere/'));
    assert.ok(followed.length >= 2);
    for (const { headers } of followed) assert.is(headers['x-key'], undefined);
  }),
);

t('an address on another host in an answer is asked without the headers', () =>
  mirrored(async (elsewhere, registry) => {
    await say(registry.host, `server = "http://${registry.host}"\n[header]\nX-Key = "secret"\n`);
    registry.fault = (request, response) => {
      if (!request.url?.includes('/tags/list')) return false;
      response.setHeader('Link', `<http://${elsewhere.host}/v2/a/tags/more>; rel="next"`).end('{"tags":["one"]}');
      return true;
    };
    elsewhere.fault = (_, response) => (response.end('{"tags":["two"]}'), true);
    const name = `${registry.host}/a/b`;
    assert.equal(await store.images.tagsInRegistry(name), [`${name}:one`, `${name}:two`]);
    assert.equal(
      [...registry.requests, ...elsewhere.requests].map(({ headers }) => headers['x-key']),
      ['secret', undefined],
    );
  }),
);

t('a proxy is not asked for what is on this machine', () =>
  mirrored(async (_, registry) => {
    const { HTTP_PROXY: before } = process.env;
    process.env.HTTP_PROXY = 'http://127.0.0.1:9';
    try {
      await pulls(`${registry.host}/a/b:1`);
    } finally {
      if (before === undefined) delete process.env.HTTP_PROXY;
      else process.env.HTTP_PROXY = before;
    }
  }),
);

t('a redirect from a mirror does not take its authority along', async () => {
  const mirror = createTlsServer(
    { key: await readFile(server.key), cert: await readFile(server.certificate) },
    (request, response) => {
      assert.is(request.headers['x-secret'], 's');
      response.writeHead(307, { Location: `https://127.0.0.1:${(hidden.address() as AddressInfo).port}/x` }).end();
    },
  );
  await new Promise<void>((resolve) => mirror.listen(0, '127.0.0.1', resolve));
  // Of the same authority, which is trusted for the mirror alone.
  const hidden = createTlsServer({ key: await readFile(server.key), cert: await readFile(server.certificate) }, () =>
    assert.unreachable('it was trusted'),
  );
  await new Promise<void>((resolve) => hidden.listen(0, '127.0.0.1', resolve));
  try {
    const address = `https://127.0.0.1:${(mirror.address() as AddressInfo).port}`;
    await say('r.example', `server = "${address}"\nca = "${ca.certificate}"\n[header]\nX-Secret = "s"\n`);
    await failure(store.images.pull('r.example/a'), 'REGISTRY_UNREACHABLE', /unknown authority/);
  } finally {
    for (const one of [mirror, hidden]) {
      one.closeAllConnections();
      await new Promise((resolve) => one.close(resolve));
    }
  }
});

t.run();
