// Who gets credentials and tokens, and who must not: token services, redirects, basic auth, TLS.

import { execFileSync } from 'node:child_process';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { busyboxFacts, busyboxLayers, ociLayout } from '../harness/images.ts';
import { failure, type Fault, FaultyRegistry, sendBlob, TestStore } from './faulty.ts';

const t = suite('logging in to a registry');
let directory: string;
let layout: string;
let registry: FaultyRegistry;
let store: TestStore;

/** Another server: a token service, a blob store, a thief. */
class Elsewhere {
  handle: (request: IncomingMessage, response: ServerResponse, body: string) => void = (_, response) => response.end();
  readonly requests: { method: string; url: URL; authorization: string | undefined; body: string }[] = [];
  readonly #server: Server = createServer(async (request, response) => {
    let body = '';
    for await (const piece of request) body += String(piece);
    const url = new URL(request.url ?? '/', 'http://elsewhere');
    this.requests.push({ method: request.method ?? '', url, authorization: request.headers.authorization, body });
    this.handle(request, response, body);
  });

  async start(): Promise<this> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return this;
  }

  get base(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise((resolve) => this.#server.close(resolve));
  }
}

let elsewhere: Elsewhere;

t.before(async () => {
  directory = await mkdtemp(join(process.env.KAPSEL_TEST_SCRATCH ?? tmpdir(), 'login-'));
  const layers = await busyboxLayers(directory);
  layout = await ociLayout(join(directory, 'layout'), [{ layers, config: busyboxFacts.config }]);
});
t.after(() => rm(directory, { recursive: true, force: true }));
t.before.each(async () => {
  registry = await new FaultyRegistry(layout).start();
  elsewhere = await new Elsewhere().start();
  store = await TestStore.make({ env: { HOME: directory, REGISTRY_AUTH_FILE: join(directory, 'auth.json') } });
  await rm(join(directory, 'auth.json'), { force: true });
});
t.after.each(async () => {
  await store.close();
  await registry.close();
  await elsewhere.close();
});

const pull = (from = registry.host) => store.images.pull(`${from}/a/b:1`);
const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;

async function logIn(entry: object = { auth: Buffer.from('me:secret').toString('base64') }): Promise<void> {
  await writeFile(join(directory, 'auth.json'), JSON.stringify({ auths: { [registry.host]: entry } }));
}

/** Lets in whoever brings one of these headers; challenges the others. */
function guarded(challenge: string | string[], ...accepted: string[]): Fault {
  return (request, response) => {
    if (accepted.includes(request.headers.authorization ?? '')) return false;
    response.writeHead(401, { 'WWW-Authenticate': challenge }).end('{"errors":[{"code":"UNAUTHORIZED"}]}');
    return true;
  };
}

const bearer = (more = '') => `Bearer realm="${elsewhere.base}/token",service="the service"${more}`;

t('an anonymous token, for the scope that is needed', async () => {
  registry.fault = guarded(bearer(), 'Bearer t1');
  elsewhere.handle = (_, response) => response.end('{"token":"t1"}');
  assert.ok((await pull()).changed);
  assert.is(elsewhere.requests.length, 1, 'one token for all requests');
  const [{ url, authorization }] = elsewhere.requests as [(typeof elsewhere.requests)[0]];
  assert.is(url.pathname, '/token');
  assert.is(url.searchParams.get('service'), 'the service');
  assert.is(url.searchParams.get('scope'), 'repository:a/b:pull');
  assert.is(authorization, undefined);
});

t('access_token is a token too, and the scope of the challenge counts', async () => {
  registry.fault = guarded(bearer(',scope="repository:a/b:pull,push"'), 'Bearer t2');
  elsewhere.handle = (_, response) => response.end('{"access_token":"t2"}');
  await pull();
  assert.is(elsewhere.requests[0]?.url.searchParams.get('scope'), 'repository:a/b:pull,push');
});

t('the token service gets the password, the registry only the token', async () => {
  await logIn();
  registry.fault = guarded([bearer(), 'Basic realm="no"'], 'Bearer t3');
  elsewhere.handle = (_, response) => response.end('{"token":"t3"}');
  await pull();
  assert.is(elsewhere.requests[0]?.authorization, basic('me:secret'));
  for (const { headers } of registry.requests) assert.ok([undefined, 'Bearer t3'].includes(headers.authorization));
});

t('an identity token is exchanged by POST, never in a URL', async () => {
  await logIn({ identitytoken: 'refresh me' });
  registry.fault = guarded(bearer(), 'Bearer t4');
  elsewhere.handle = (_, response) => response.end('{"access_token":"t4"}');
  await pull();
  const [{ method, url, body }] = elsewhere.requests as [(typeof elsewhere.requests)[0]];
  assert.is(method, 'POST');
  assert.is(url.search, '');
  const form = new URLSearchParams(body);
  assert.equal([form.get('grant_type'), form.get('refresh_token')], ['refresh_token', 'refresh me']);
});

t('a token that expires between two layers is replaced', async () => {
  let issued = 0;
  elsewhere.handle = (_, response) => response.end(JSON.stringify({ token: `t${++issued}` }));
  registry.fault = (request, response, seen) => {
    const valid = request.url?.includes('/blobs/') ? 'Bearer t2' : 'Bearer t1';
    return guarded(bearer(), valid)(request, response, seen);
  };
  await pull();
  assert.is(issued, 2, 'blobs refused at once ask for one token together');
});

t('insufficient_scope is answered once more, not for ever', async () => {
  let issued = 0;
  elsewhere.handle = (_, response) => response.end(JSON.stringify({ token: `t${++issued}` }));
  registry.fault = guarded(bearer(',error="insufficient_scope"'), 'Bearer never');
  await failure(pull(), 'IMAGE_NOT_FOUND', /pull access denied .* need a login/);
  assert.is(issued, 2);
  assert.equal(store.contents(), []);
});

const services: [name: string, status: number, body: string, code: string, words: RegExp][] = [
  ['refuses', 401, '{}', 'REGISTRY_UNAUTHORIZED', /gave no token/],
  ['fails', 500, '', 'REGISTRY_PROTOCOL', /status 500/],
  ['babbles', 200, '<html>', 'REGISTRY_PROTOCOL', /without a token/],
  ['gives a token with a line break', 200, '{"token":"a\\r\\nX-Evil: 1"}', 'REGISTRY_PROTOCOL', /without a token/],
  ['gives a token that is an object', 200, '{"token":{}}', 'REGISTRY_PROTOCOL', /without a token/],
];
for (const [name, status, body, code, words] of services) {
  t(`a token service that ${name}`, async () => {
    registry.fault = guarded(bearer(), 'Bearer t');
    elsewhere.handle = (_, response) => response.writeHead(status).end(body);
    await failure(pull(), code, words);
    assert.equal(store.contents(), []);
  });
}

t('a token service that hangs', async () => {
  registry.fault = guarded(bearer(), 'Bearer t');
  elsewhere.handle = () => undefined;
  await failure(pull(), 'REGISTRY_UNREACHABLE', /token service.*no answer/);
});

const realms: [realm: string, code: string][] = [
  ['http://evil.example/token', 'REGISTRY_PROTOCOL'],
  ['file:///etc/passwd', 'REGISTRY_PROTOCOL'],
  ['not a url', 'REGISTRY_PROTOCOL'],
  ['', 'REGISTRY_UNAUTHORIZED'],
];
for (const [realm, code] of realms) {
  t(`a realm ${JSON.stringify(realm)} gets no credentials`, async () => {
    await logIn();
    registry.fault = guarded(`Bearer realm="${realm}"`, 'Bearer t');
    const error = await failure(pull(), code);
    assert.not.match(error.message, /secret/);
  });
}

t('basic auth, with the right password', async () => {
  await logIn();
  registry.fault = guarded('Basic realm="here"', basic('me:secret'));
  assert.ok((await pull()).changed);
});

t('basic auth, with the wrong password', async () => {
  await logIn({ username: 'me', password: 'wrong' });
  registry.fault = guarded('Basic realm="here"', basic('me:secret'));
  const error = await failure(pull(), 'REGISTRY_UNAUTHORIZED', /refused the stored credentials: log in again/);
  assert.not.match(error.message, /wrong/);
});

t('basic auth, with no password', async () => {
  registry.fault = guarded('Basic realm="here"', basic('me:secret'));
  await failure(pull(), 'IMAGE_NOT_FOUND', /pull access denied for .*: it may not exist, or need a login/);
});

/** Blobs are elsewhere. */
function redirecting(location: (digest: string) => string): Fault {
  const guard = guarded('Basic realm="here"', basic('me:secret'));
  return (request, response, seen) => {
    if (guard(request, response, seen)) return true;
    const digest = /\/blobs\/(.+)$/.exec(request.url ?? '')?.[1];
    if (digest === undefined) return false;
    response.writeHead(307, { Location: location(digest) }).end();
    return true;
  };
}

t('a redirect to a blob store goes without credentials', async () => {
  await logIn();
  registry.fault = redirecting((digest) => `${elsewhere.base}/${digest}`);
  elsewhere.handle = (request, response) => sendBlob(response, registry.blob(request.url!.slice(1)));
  assert.ok((await pull()).changed);
  assert.ok(elsewhere.requests.length >= 4);
  for (const { authorization } of elsewhere.requests) assert.is(authorization, undefined);
});

t('a blob store that asks for a password gets none', async () => {
  await logIn();
  registry.fault = redirecting((digest) => `${elsewhere.base}/${digest}`);
  elsewhere.handle = (_, response) => response.writeHead(401, { 'WWW-Authenticate': 'Basic realm="give"' }).end();
  await failure(pull(), 'REGISTRY_UNAUTHORIZED');
  for (const { authorization } of elsewhere.requests) assert.is(authorization, undefined);
  assert.equal(store.contents(), []);
});

t('a blob store that names a token service of its own is not believed', async () => {
  await logIn();
  registry.fault = redirecting((digest) => `${elsewhere.base}/${digest}`);
  elsewhere.handle = (_, response) => {
    response.writeHead(401, { 'WWW-Authenticate': `Bearer realm="${elsewhere.base}/token",service="x"` }).end();
  };
  await failure(pull(), 'REGISTRY_UNAUTHORIZED');
  assert.ok(elsewhere.requests.length > 0);
  for (const { authorization, url } of elsewhere.requests)
    assert.equal([authorization, url.pathname === '/token'], [undefined, false]);
});

t('a token of a megabyte and more is not read to its end', async () => {
  registry.fault = guarded(bearer(), 'Bearer t');
  elsewhere.handle = (_, response) => response.end(JSON.stringify({ token: 't', more: 'x'.repeat(1 << 20) }));
  await failure(pull(), 'REGISTRY_PROTOCOL', /the token from 127\.0\.0\.1:\d+ is larger than 1048576 bytes/);
});

t('requests that are refused together ask for one token', async () => {
  let issued = 0;
  elsewhere.handle = (_, response) => response.end(JSON.stringify({ token: `t${++issued}` }));
  const layers = new Set(registry.manifest.layers.map(({ digest }) => digest));
  let refused = 0;
  registry.fault = (request, response) => {
    const isLayer = layers.has(/\/blobs\/(.+)$/.exec(request.url ?? '')?.[1] ?? '');
    const accepted = isLayer ? 't2' : 't1';
    if (request.headers.authorization === `Bearer ${accepted}`) return false;
    if (isLayer) refused++;
    const challenge = { 'WWW-Authenticate': `Bearer realm="${elsewhere.base}/token",service="x"` };
    // Later than the others were sent; the last of them when the new token is there already.
    setTimeout(() => response.writeHead(401, challenge).end(), refused === layers.size ? 300 : 100);
    return true;
  };
  await pull();
  assert.ok(refused > 1);
  assert.is(issued, 2);
});

t('an address on another host in an answer is asked without credentials', async () => {
  await logIn();
  const guard = guarded('Basic realm="here"', basic('me:secret'));
  registry.fault = (request, response, seen) => {
    if (guard(request, response, seen)) return true;
    if (!request.url?.endsWith('/tags/list')) return false;
    response.setHeader('Link', `<${elsewhere.base}/more>; rel="next"`).end('{"tags":["one"]}');
    return true;
  };
  elsewhere.handle = (_, response) => response.end('{"tags":["two"]}');
  const name = `${registry.host}/a/b`;
  assert.equal(await store.images.tagsInRegistry(name), [`${name}:one`, `${name}:two`]);
  assert.equal(
    elsewhere.requests.map(({ authorization }) => authorization),
    [undefined],
  );
});

t('a redirect there and back does not bring the credentials back', async () => {
  await logIn();
  registry.fault = redirecting((digest) => `${elsewhere.base}/${digest}`);
  elsewhere.handle = (request, response) => {
    response.writeHead(302, { Location: `http://${registry.host}/stolen${request.url}` }).end();
  };
  await failure(pull(), 'REGISTRY_UNAUTHORIZED');
  const stolen = registry.requests.filter(({ url }) => url.startsWith('/stolen'));
  assert.ok(stolen.length > 0);
  for (const { headers } of stolen) assert.is(headers.authorization, undefined);
});

for (const location of ['http://cdn.example/x', 'file:///etc/shadow', 'http://', 'gopher://127.0.0.1/x']) {
  t(`a redirect to ${location} is not followed`, async () => {
    await logIn();
    registry.fault = redirecting(() => location);
    await failure(pull(), 'REGISTRY_PROTOCOL', /redirects to .*, where kapsel does not go/);
  });
}

t('a redirect to itself ends', async () => {
  await logIn();
  registry.fault = redirecting((digest) => `/v2/a/b/blobs/${digest}`);
  await failure(pull(), 'REGISTRY_PROTOCOL', /redirects more than 5 times/);
  const asked = registry.requests.map(({ url }) => url).filter((url) => url.includes('/blobs/'));
  for (const url of new Set(asked)) assert.ok(registry.count(url) <= 7, 'with one 401 before it');
});

t('https with an unknown certificate: refused, unless the registry is named insecure', async () => {
  const [key, cert] = [join(directory, 'key.pem'), join(directory, 'cert.pem')];
  const request = ['req', '-x509', '-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '1'];
  execFileSync('openssl', [...request, '-subj', '/CN=127.0.0.1', '-keyout', key, '-out', cert], { stdio: 'ignore' });
  const pems = { key: await readFile(key), cert: await readFile(cert) };
  const secure = await new FaultyRegistry(layout, (listener) => createTlsServer(pems, listener)).start();
  const trusting = await TestStore.make({ insecure: [secure.host] });
  try {
    await failure(pull(secure.host), 'REGISTRY_UNREACHABLE', /certificate/);
    assert.is(secure.requests.length, 0);
    assert.ok((await trusting.images.pull(`${secure.host}/a/b:1`)).changed);
  } finally {
    await trusting.close();
    await secure.close();
  }
});

t.run();
