// The packages as npm publishes them: packed, given out by a registry of the test's own, installed by the one word that a
// user types, and used from there.

import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run, scratch, testEngine, type TestEngine } from '../harness/engine.ts';

const repository = new URL('../../', import.meta.url).pathname;
const native = `linux-${process.arch}-gnu`;
const other = { x64: 'linux-arm64-gnu', arm64: 'linux-x64-gnu' }[process.arch as 'x64' | 'arm64'];
const t = suite('packages');
let engine: TestEngine;
let folder: string;
let tarballs: string[];
let registry: Server;
const asked: string[] = [];

/** npm's protocol, as far as an install needs it: what there is of a package, and its tarball. */
async function publish(paths: string[]): Promise<Server> {
  const packages = new Map<string, object>();
  const files = new Map<string, Buffer>();
  const add = (manifest: { name: string; version: string }, file: string, bytes: Buffer) => {
    files.set(`/${file}`, bytes);
    const integrity = `sha512-${createHash('sha512').update(bytes).digest('base64')}`;
    const dist = { integrity, tarball: `${address()}/${file}` };
    const { name, version } = manifest;
    const versions = { [version]: { ...manifest, dist } };
    packages.set(`/${name}`, { name, 'dist-tags': { latest: version }, versions });
  };
  const server = createServer((request, response) => {
    const url = decodeURIComponent(request.url ?? '');
    asked.push(url);
    const found = packages.has(url) ? JSON.stringify(packages.get(url)) : files.get(url);
    if (found === undefined) response.statusCode = 404;
    response.end(found ?? '{}');
  });
  // A connection that ends while npm is busy would be a package that could not be had, and npm does without silently.
  server.keepAliveTimeout = 0;
  const address = () => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  for (const path of paths) {
    const { stdout } = await run('tar', ['-xzOf', path, 'package/package.json']);
    add(JSON.parse(stdout), basename(path), readFileSync(path));
  }
  // Of the other architecture, which is not built here, there is only the description.
  const description = readFileSync(join(repository, 'npm', other, 'package.json'), 'utf8');
  add(JSON.parse(description), 'other.tgz', Buffer.from('nobody asks for it'));
  return server;
}

t.before(async () => {
  engine = await testEngine();
  folder = join(scratch, 'installed');
  mkdirSync(folder);
  const packed = await run(process.execPath, [
    join(repository, 'scripts/pack.ts'),
    '--partial',
    join(scratch, 'packed'),
  ]);
  assert.is(packed.exitCode, 0, packed.stderr);
  tarballs = packed.stdout.trim().split('\n');
  registry = await publish(tarballs);
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }');
  const { port } = registry.address() as AddressInfo;
  const args = [
    'install',
    '--no-audit',
    '--no-fund',
    '--loglevel=http',
    '--cache',
    join(scratch, 'npm-cache'),
    'kapsel',
  ];
  const installed = await run('npm', [...args, `--registry=http://127.0.0.1:${port}`], { cwd: folder });
  assert.is(installed.exitCode, 0, installed.stderr);
  assert.ok(existsSync(join(folder, 'node_modules', `kapsel-${native}`)), installed.stderr);
});
t.after(async () => {
  registry?.close();
  await engine.close();
});

t('are what a user gets for `npm install kapsel`, without those of other machines', () => {
  assert.equal(
    tarballs.map((path) => basename(path).replace(/-\d.*/, '')),
    [`kapsel-${native}`, 'kapsel'],
    'the ones that it needs are published first',
  );
  assert.not.ok(asked.includes('/other.tgz'));
  const { version } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as { version: string };
  const published = JSON.parse(readFileSync(join(folder, 'node_modules/kapsel/package.json'), 'utf8'));
  assert.equal(published.optionalDependencies, { [`kapsel-${native}`]: version, [`kapsel-${other}`]: version });
  assert.not.ok('dependencies' in published || 'devDependencies' in published || 'scripts' in published);
});

t('are no release while an architecture is missing', async () => {
  const { exitCode, stderr } = await run(process.execPath, [
    join(repository, 'scripts/pack.ts'),
    join(scratch, 'whole'),
  ]);
  assert.equal([exitCode, stderr], [1, `kapsel: not built: kapsel-${other}\n`]);
});

t('hold what runs and nothing else', () => {
  const files = (name: string) => readdirSync(join(folder, 'node_modules', name)).sort();
  assert.equal(files('kapsel'), ['LICENSE', 'README.md', 'dist', 'package.json']);
  assert.equal(files(`kapsel-${native}`), ['LICENSE', 'kapsel-runtime', `kapsel.${native}.node`, 'package.json']);
  assert.equal(
    readdirSync(join(folder, 'node_modules')).filter((name) => !name.startsWith('.')),
    ['kapsel', `kapsel-${native}`],
    'no dependency comes along',
  );
});

t('keep the mode of the executable', () => {
  const { mode } = statSync(join(folder, 'node_modules', `kapsel-${native}`, 'kapsel-runtime'));
  assert.is(mode & 0o777, 0o755);
});

t('hold an executable that needs no library and is small', () => {
  const elf = readFileSync(join(folder, 'node_modules', `kapsel-${native}`, 'kapsel-runtime'));
  const [first, size, count] = [Number(elf.readBigUInt64LE(32)), elf.readUInt16LE(54), elf.readUInt16LE(56)];
  const headers = Array.from({ length: count }, (_, i) => elf.readUInt32LE(first + i * size));
  const loader = 3; // PT_INTERP
  assert.not.ok(headers.includes(loader), 'it is static');
  assert.ok(elf.length < 3_000_000, `it has ${elf.length} bytes`);
});

t('give the command', async () => {
  const PATH = `${dirname(process.execPath)}:${process.env.PATH}`;
  const options = { cwd: folder, env: { ...engine.env, PATH } };
  const args = ['--offline', 'kapsel', 'run', '--rm', 'host:bash', 'bash', '-c', 'echo $$; exit 3'];
  const { exitCode, stdout, stderr } = await run('npx', args, options);
  assert.equal([stdout, stderr, exitCode], ['1\n', '', 3]);
});

t('give the SDK', async () => {
  const script = `
    import { Engine } from 'kapsel';
    const engine = new Engine({ root: process.env.KAPSEL_ROOT, runRoot: process.env.KAPSEL_RUN_ROOT,
      cgroupParent: process.env.KAPSEL_CGROUP_PARENT, defaultNetwork: 'none' });
    const { stdout } = await engine.containers.run('host:bash', { command: ['bash', '-c', 'echo hello'] });
    process.stdout.write(stdout);
    await engine.close();`;
  writeFileSync(join(folder, 'program.js'), script);
  const { stdout, stderr } = await run(process.execPath, ['program.js'], { cwd: folder, env: engine.env });
  assert.equal([stdout, stderr], ['hello\n', '']);
});

t.run();
