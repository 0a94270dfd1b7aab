// The packages as npm would publish them: packed, installed into an empty folder without a network, and used from there.

import { mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run, scratch, testEngine, type TestEngine } from '../harness/engine.ts';

const repository = new URL('../../', import.meta.url).pathname;
const native = `linux-${process.arch}-gnu`;
const t = suite('packages');
let engine: TestEngine;
let folder: string;

async function npm(cwd: string, ...args: string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await run('npm', args, { cwd });
  assert.is(exitCode, 0, stderr);
  return stdout;
}

t.before(async () => {
  engine = await testEngine();
  folder = join(scratch, 'installed');
  mkdirSync(folder);
  for (const source of [repository, join(repository, 'npm', native)]) {
    await npm(source, 'pack', '--silent', '--pack-destination', scratch);
  }
  const tarballs = readdirSync(scratch).filter((name) => name.endsWith('.tgz'));
  assert.is(tarballs.length, 2);
  writeFileSync(join(folder, 'package.json'), '{ "private": true, "type": "module" }');
  await npm(folder, 'install', '--offline', '--no-audit', '--no-fund', ...tarballs.map((name) => join(scratch, name)));
});
t.after(() => engine.close());

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
      cgroupParent: process.env.KAPSEL_CGROUP_PARENT });
    const { stdout } = await engine.containers.run('host:bash', { command: ['bash', '-c', 'echo hello'] });
    process.stdout.write(stdout);
    await engine.close();`;
  writeFileSync(join(folder, 'program.js'), script);
  const { stdout, stderr } = await run(process.execPath, ['program.js'], { cwd: folder, env: engine.env });
  assert.equal([stdout, stderr], ['hello\n', '']);
});

t.run();
