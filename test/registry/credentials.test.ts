// Credentials from Docker's and containers' files, and from helpers that are real programs.

import { chmod, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { findCredentials } from '../../src/registry/credentials.ts';

const t = suite('credentials');
let home: string;

t.before.each(async () => {
  home = await mkdtemp(join(process.env.KAPSEL_TEST_SCRATCH ?? tmpdir(), 'credentials-'));
});
t.after.each(() => rm(home, { recursive: true, force: true }));

async function docker(config: unknown): Promise<void> {
  await mkdir(join(home, '.docker'), { recursive: true });
  await writeFile(join(home, '.docker', 'config.json'), typeof config === 'string' ? config : JSON.stringify(config));
}

/** A helper that answers by its first line of input. */
async function helper(name: string, script: string): Promise<void> {
  const path = join(home, `docker-credential-${name}`);
  await writeFile(path, `#!/bin/sh\nread server\n${script}\n`);
  await chmod(path, 0o755);
}

const find = (registry: string, repository = 'a/b', env: NodeJS.ProcessEnv = {}) =>
  findCredentials(registry, repository, { env: { HOME: home, PATH: `${home}:/usr/bin:/bin`, ...env } });

const auth = (text: string) => ({ auth: Buffer.from(text).toString('base64') });
const password = (username: string, secret: string) => ({ kind: 'password', username, password: secret });

t('nobody without files', async () => assert.is(await find('r.example'), undefined));

t('an entry of config.json, its password with colons', async () => {
  await docker({ auths: { 'r.example:5000': auth('me:a:b:ö') } });
  assert.equal(await find('r.example:5000'), password('me', 'a:b:ö'));
  assert.is(await find('r.example'), undefined);
});

t("Docker Hub's entry has its old key", async () => {
  await docker({ auths: { 'https://index.docker.io/v1/': auth('me:hub') } });
  assert.equal(await find('docker.io', 'library/debian'), password('me', 'hub'));
});

t('keys that are URLs', async () => {
  await docker({ auths: { 'https://r.example/v2/': auth('me:url') } });
  assert.equal(await find('r.example'), password('me', 'url'));
});

t('a key cannot be reached through the prototype', async () => {
  await docker({ auths: {} });
  assert.is(await find('constructor'), undefined);
});

t('identity and registry tokens', async () => {
  await docker({ auths: { 'a.example': { identitytoken: 'refresh' }, 'b.example': { registrytoken: 'ready' } } });
  assert.equal(await find('a.example'), { kind: 'identity', token: 'refresh' });
  assert.equal(await find('b.example'), { kind: 'bearer', token: 'ready' });
});

t("containers' auth.json, the longest path first", async () => {
  await mkdir(join(home, 'containers'));
  const auths = { 'r.example': auth('all:1'), 'r.example/a': auth('some:2') };
  await writeFile(join(home, 'containers', 'auth.json'), JSON.stringify({ auths }));
  assert.equal(await find('r.example', 'a/b', { XDG_RUNTIME_DIR: home }), password('some', '2'));
  assert.equal(await find('r.example', 'c', { XDG_RUNTIME_DIR: home }), password('all', '1'));
});

t('REGISTRY_AUTH_FILE and nothing else', async () => {
  await docker({ auths: { 'r.example': auth('me:docker') } });
  const path = join(home, 'mine.json');
  await writeFile(path, JSON.stringify({ auths: { 'r.example': auth('me:mine') } }));
  assert.equal(await find('r.example', 'a', { REGISTRY_AUTH_FILE: path }), password('me', 'mine'));
});

t('a helper for one registry comes before the store, the store before the entry', async () => {
  await helper('one', 'echo "{\\"Username\\":\\"one\\",\\"Secret\\":\\"$server\\"}"');
  await helper('all', 'echo "{\\"Username\\":\\"all\\",\\"Secret\\":\\"$server\\"}"');
  await docker({ credHelpers: { 'a.example': 'one' }, credsStore: 'all', auths: { 'b.example': auth('me:file') } });
  assert.equal(await find('a.example'), password('one', 'a.example'));
  assert.equal(await find('b.example'), password('all', 'b.example'));
  assert.equal(await find('docker.io'), password('all', 'https://index.docker.io/v1/'));
});

t('a store that knows nothing leaves the entry', async () => {
  await helper('all', 'echo "credentials not found in native keychain"; exit 1');
  await docker({ credsStore: 'all', auths: { 'r.example': auth('me:file') } });
  assert.equal(await find('r.example'), password('me', 'file'));
});

t("a helper's <token> is an identity token", async () => {
  await helper('all', `echo '{"Username":"<token>","Secret":"refresh"}'`);
  await docker({ credsStore: 'all' });
  assert.equal(await find('r.example'), { kind: 'identity', token: 'refresh' });
});

const broken: [name: string, config: unknown, why: RegExp][] = [
  ['a file that is no JSON', '{"auths": {"r.example": {"auth": "c2VjcmV0"', /config\.json is not valid JSON/],
  // Of this the parser's message has a part.
  ['a file that is no JSON in another way', '["c2VjcmV0", x', /config\.json is not valid JSON/],
  ['a list', [], /not a JSON object/],
  ['an entry that is no user:password', { auths: { 'r.example': { auth: 'c2VjcmV0' } } }, /log in again/],
  ['a helper that is not installed', { credsStore: 'missing' }, /cannot run docker-credential-missing/],
  ['a helper whose name is a path', { credsStore: '../../bin/sh' }, /names a credential helper/],
  ['a helper that fails', { credsStore: 'fails' }, /docker-credential-fails found no credentials .*: locked/],
  ['a helper that babbles', { credsStore: 'babbles' }, /not JSON/],
  ['a helper that does not end', { credsStore: 'endless' }, /docker-credential-endless.*: it ended with SIGKILL/],
];
for (const [name, config, why] of broken) {
  t(`${name} is an error that names the file or the program, and no secret`, async () => {
    await helper('fails', 'echo locked; exit 3');
    await helper('babbles', 'echo hello');
    await helper('endless', 'exec yes c2VjcmV0');
    await docker(config);
    const error = await find('r.example').then(
      () => undefined,
      (reason: Error & { code: string }) => reason,
    );
    assert.is(error?.code, 'REGISTRY_CREDENTIALS');
    assert.match(error!.message, why);
    assert.not.match(error!.message, /c2VjcmV0|\n/);
    assert.not.match(String(error!.cause), /c2VjcmV0/);
  });
}

t.run();
