// `kapsel login`, `logout` and `search` against Debian's docker-registry: what they say, what they keep and where.

import { existsSync } from 'node:fs';
import { chmod, mkdir, readdir, readFile, readlink, rm, stat, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Pty } from '../cli/pty.ts';
import { type CommandResult, testEngine, type TestEngine } from '../harness/engine.ts';
import { busyboxFacts, busyboxLayers, ociLayout } from '../harness/images.ts';
import { TestRegistry } from '../harness/registry.ts';

const t = suite('login, logout and search');
let engine: TestEngine;
let registry: TestRegistry;
let open: TestRegistry;
let home: string;

t.before(async () => {
  engine = await testEngine();
  registry = await TestRegistry.start({ login: { username: 'me', password: 'se:cret' } });
  open = await TestRegistry.start();
  const layers = await busyboxLayers(engine.directory);
  const layout = await ociLayout(join(engine.directory, 'layout'), [{ layers, config: busyboxFacts.config }]);
  await registry.push(`oci:${layout}`, 'some/busybox:1');
  for (const name of ['some/busybox:1', 'other/busybox:1', 'debian:12']) await open.push(`oci:${layout}`, name);
});
t.after(async () => {
  await registry.close();
  await open.close();
  await engine.close();
});
t.before.each(async () => {
  home = join(engine.directory, 'home');
  await rm(home, { recursive: true, force: true });
  await mkdir(home);
});

const environment = (): Record<string, string> => ({
  HOME: home,
  DOCKER_CONFIG: join(home, '.docker'),
  XDG_RUNTIME_DIR: '',
  REGISTRY_AUTH_FILE: '',
  PATH: `${home}:${process.env.PATH}`,
});
const kapsel = (args: string[], input = '', env: Record<string, string> = {}): Promise<CommandResult> =>
  engine.kapsel(args, { input, env: { ...environment(), ...env } });
const file = (): string => join(home, '.docker', 'config.json');
const config = async (path = file()): Promise<Record<string, any>> => JSON.parse(await readFile(path, 'utf8'));
const encoded = (text: string): { auth: string } => ({ auth: Buffer.from(text).toString('base64') });
const logIn = (...more: string[]): Promise<CommandResult> =>
  kapsel(['login', '-u', 'me', '--password-stdin', ...more, registry.host], 'se:cret\n');

function works(result: CommandResult): string {
  assert.is(result.exitCode, 0, result.stderr);
  return result.stdout;
}

function fails(result: CommandResult, words: RegExp): void {
  assert.is(result.exitCode, 1, result.stderr);
  assert.match(result.stderr, words);
  assert.not.match(result.stdout, /Succeeded/);
}

t('run and create pull as pull does: with the credentials and the trust that they are given', async () => {
  const image = `${registry.host}/some/busybox:1`;
  const authfile = join(home, 'auth.json');
  await writeFile(authfile, JSON.stringify({ auths: { [registry.host]: encoded('me:se:cret') } }));
  const refused = await kapsel(['run', '--rm', image, 'true']);
  assert.is(refused.exitCode, 125);
  assert.match(refused.stderr, /pull access denied for .*no credentials/);
  const strict = await kapsel(['run', '--rm', '--authfile', authfile, '--tls-verify', image, 'true']);
  assert.is(strict.exitCode, 125);
  assert.match(strict.stderr, /does not speak https.* --tls-verify=false/);
  works(await kapsel(['run', '--rm', '-q', '--authfile', authfile, image, 'true']));
  works(await kapsel(['rmi', image]));
  const id = works(await kapsel(['create', '-q', '--authfile', authfile, '--tls-verify=false', image])).trim();
  works(await kapsel(['rm', id]));
  works(await kapsel(['rmi', image]));
});

t('logged in by a password from standard input: pulls work until the logout', async () => {
  const image = `${registry.host}/some/busybox:1`;
  fails(await kapsel(['pull', image]), /pull access denied for .*no credentials/);
  const result = await logIn();
  assert.is(works(result), 'Login Succeeded\n');
  assert.match(result.stderr, /unencrypted in .*config\.json/);
  assert.equal(await config(), { auths: { [registry.host]: encoded('me:se:cret') } });
  assert.is((await stat(file())).mode & 0o7777, 0o600);
  assert.is((await stat(join(home, '.docker'))).mode & 0o7777, 0o700);
  works(await kapsel(['pull', image]));
  assert.is(works(await kapsel(['logout', registry.host])), `Removing login credentials for ${registry.host}\n`);
  assert.equal(await config(), { auths: {} });
  assert.is(works(await kapsel(['logout', registry.host])), `Not logged in to ${registry.host}\n`);
  fails(await kapsel(['pull', '--quiet', image]), /pull access denied/);
});

t('a wrong password is not stored, and an old one stays', async () => {
  fails(
    await kapsel(['login', '-u', 'me', '--password-stdin', registry.host], 'wrong'),
    /login to 127\.0\.0\.1:\d+ failed: invalid username\/password/,
  );
  assert.not(existsSync(file()));
  works(await logIn());
  fails(await kapsel(['login', '-u', 'me', '-p', 'wrong', registry.host]), /invalid username\/password/);
  assert.equal(await config(), { auths: { [registry.host]: encoded('me:se:cret') } });
  assert.equal(await readdir(join(home, '.docker')), ['config.json'], 'neither lock nor half a file');
});

t('what else config.json says stays, and so does a link to it', async () => {
  await mkdir(join(home, '.docker'));
  const kept = { HttpHeaders: { a: 'b' }, auths: { 'r.example': encoded('a:b') }, detachKeys: 'ctrl-q' };
  await writeFile(join(home, 'elsewhere.json'), JSON.stringify(kept));
  await symlink(join(home, 'elsewhere.json'), file());
  works(await logIn());
  assert.is(await readlink(file()), join(home, 'elsewhere.json'));
  assert.equal(await config(), { ...kept, auths: { ...kept.auths, [registry.host]: encoded('me:se:cret') } });
});

t('a damaged config.json is neither lost nor quoted', async () => {
  await mkdir(join(home, '.docker'));
  await writeFile(file(), '{"auths": {"x": {"auth": "c2VjcmV0"}');
  const result = await logIn();
  fails(result, /config\.json is not valid JSON/);
  assert.not.match(result.stderr, /c2VjcmV0/);
  assert.match(await readFile(file(), 'utf8'), /c2VjcmV0/);
});

t('what a login that was killed has left goes with the next', async () => {
  await mkdir(join(home, '.docker'));
  for (const name of ['config.json.new', 'config.json.lock'])
    await writeFile(join(home, '.docker', name), '{"auths":', { mode: 0o644 });
  works(await logIn());
  assert.equal(await readdir(join(home, '.docker')), ['config.json']);
  assert.is((await stat(file())).mode & 0o7777, 0o600);
});

t('--authfile and REGISTRY_AUTH_FILE say where', async () => {
  const one = join(home, 'one.json');
  works(await logIn('--authfile', one));
  assert.equal(await config(one), { auths: { [registry.host]: encoded('me:se:cret') } });
  const two = join(home, 'deep', 'two.json');
  works(await kapsel(['login', '-u', 'me', '--password-stdin', registry.host], 'se:cret', { REGISTRY_AUTH_FILE: two }));
  assert.ok((await config(two)).auths[registry.host]);
  assert.is(
    works(await kapsel(['logout', '--authfile', one, registry.host])),
    `Removing login credentials for ${registry.host}\n`,
  );
  assert.equal(await config(one), { auths: {} });
});

/** A credential helper that keeps its secrets in a file a server, and answers as Docker's do. */
async function helper(name: string): Promise<void> {
  const path = join(home, `docker-credential-${name}`);
  const script = `#!/bin/sh
store=${home}/secrets
mkdir -p $store
case $1 in
store) python3 -c 'import json,sys,urllib.parse; d=json.load(sys.stdin); open("'$store'/"+urllib.parse.quote(d["ServerURL"],""),"w").write(json.dumps(d))' ;;
*) read -r server; file=$store/$(python3 -c 'import sys,urllib.parse; print(urllib.parse.quote(sys.argv[1],""))' "$server")
   [ $1 = list ] && { echo '{}'; exit; }
   [ -f "$file" ] || { echo "credentials not found in native keychain"; exit 1; }
   [ $1 = get ] && cat "$file" || rm "$file" ;;
esac
`;
  await writeFile(path, script);
  await chmod(path, 0o755);
}

for (const [how, named] of [
  ['credsStore', () => ({ credsStore: 'test' })],
  ['credHelpers', () => ({ credHelpers: { [registry.host]: 'test' } })],
] as const) {
  t(`${how}: the password goes to the helper, and nowhere else`, async () => {
    await helper('test');
    await mkdir(join(home, '.docker'));
    await writeFile(file(), JSON.stringify({ ...named(), auths: { [registry.host]: encoded('old:old') } }));
    const result = await logIn();
    assert.is(works(result), 'Login Succeeded\n');
    assert.not.match(result.stderr, /unencrypted/);
    assert.equal(await config(), { ...named(), auths: { [registry.host]: {} } });
    const [secret = ''] = await readdir(join(home, 'secrets'));
    assert.is(JSON.parse(await readFile(join(home, 'secrets', secret), 'utf8')).Secret, 'se:cret');
    works(await kapsel(['pull', `${registry.host}/some/busybox:1`]));
    works(await kapsel(['logout', registry.host]));
    assert.equal(await readdir(join(home, 'secrets')), []);
  });
}

t('a helper that fails is said, and the login is not', async () => {
  const path = join(home, 'docker-credential-broken');
  await writeFile(path, '#!/bin/sh\necho the keychain is locked; exit 1\n');
  await chmod(path, 0o755);
  await mkdir(join(home, '.docker'));
  await writeFile(file(), '{"credsStore":"broken"}');
  fails(await logIn(), /docker-credential-broken did not store the credentials for .*: the keychain is locked/);
  assert.equal(await config(), { credsStore: 'broken' });
});

t('logout --all', async () => {
  await mkdir(join(home, '.docker'));
  const auths = { 'r.example': encoded('a:b'), 'https://index.docker.io/v1/': encoded('c:d') };
  await writeFile(file(), JSON.stringify({ auths, other: 1 }));
  assert.is(
    works(await kapsel(['logout', '--all'])),
    'Removing login credentials for docker.io\nRemoving login credentials for r.example\n',
  );
  assert.equal(await config(), { auths: {}, other: 1 });
});

t('logins at the same time are all there', async () => {
  const files = Array.from({ length: 4 }, (_, index) => registry.host + (index ? `/p${index}` : ''));
  const all = await Promise.all(
    files.map((server) => kapsel(['login', '-u', 'me', '--password-stdin', server], 'se:cret')),
  );
  all.forEach(works);
  assert.equal(Object.keys((await config()).auths).sort(), files.sort());
});

t('wrong use', async () => {
  fails(await kapsel(['login', '--password-stdin', registry.host]), /Must provide --username with --password-stdin/);
  fails(await kapsel(['login', '-u', 'me', '-p', 'x', '--password-stdin', registry.host]), /mutually exclusive/);
  fails(
    await kapsel(['login', '-u', 'me', registry.host]),
    /Cannot perform an interactive login from a non TTY device/,
  );
  fails(
    await kapsel(['login', '-u', 'me', '--password-stdin', '127.0.0.1:1'], 'x'),
    /cannot log in to 127\.0\.0\.1:1.*connection refused/,
  );
});

t('asked on a terminal, the password unseen', async () => {
  const command = `${process.execPath} ${new URL('../../dist/kapsel.js', import.meta.url).pathname} login ${registry.host}`;
  const pty = await Pty.open(command, { ...engine.env, ...environment() });
  await pty.shows(/Username: /);
  pty.type('me\r');
  await pty.shows(/Password: /);
  pty.type('se:cret\r');
  await pty.shows(/Login Succeeded/);
  assert.is(await pty.exited, 0);
  assert.not.match(pty.output, /se:cret/);
  assert.equal(await config(), { auths: { [registry.host]: encoded('me:se:cret') } });
  const again = await kapsel(['login', registry.host]);
  assert.is(works(again), 'Login Succeeded\n');
  assert.match(again.stderr, /Authenticating with existing credentials/);
});

t('ctrl-c at the password', async () => {
  const command = `${process.execPath} ${new URL('../../dist/kapsel.js', import.meta.url).pathname} login -u me ${registry.host}`;
  const pty = await Pty.open(command, { ...engine.env, ...environment() });
  await pty.shows(/Password: /);
  pty.type('\x03');
  assert.is(await pty.exited, 130);
  assert.not(existsSync(file()));
});

t('search where there is a catalogue', async () => {
  assert.is(
    works(await kapsel(['search', `${open.host}/busybox`, '--format', '{{.Name}}'])),
    ['other', 'some'].map((name) => `${open.host}/${name}/busybox\n`).join(''),
  );
  assert.match(works(await kapsel(['search', `${open.host}/`])), /^NAME +DESCRIPTION\n.*\/debian +\n/);
  const tags = works(await kapsel(['search', '--list-tags', `${open.host}/some/busybox`]));
  assert.match(tags, new RegExp(`^NAME +TAG\n${open.host}/some/busybox +1\n$`));
  assert.is(
    works(await kapsel(['search', '--limit', '1', `${open.host}/`, '--format', '{{.Name}}'])).split('\n').length,
    2,
  );
  fails(await kapsel(['search', `${registry.host}/busybox`]), /search access denied/);
  fails(await kapsel(['search', 'busybox']), /Docker Hub has no catalogue/);
});

t.run();
