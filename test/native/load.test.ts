// Loading the addon, and the one line that says why there is none; the classes that failures become.

import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as errors from '../../src/engine/errors.ts';
import { runtimePath } from '../../src/native.ts';

const t = suite('load');
const scratch = mkdtempSync(join(process.env.KAPSEL_TEST_SCRATCH ?? tmpdir(), 'load-'));
const source = new URL('../../src/', import.meta.url).pathname;
const triple = `linux-${process.arch}-gnu`;

/** What a copy of the project without its binaries says, where `before` was done to the process first. */
function complaint(name: string, before = '', prepare: (root: string) => void = () => {}): string {
  const root = join(scratch, name);
  cpSync(join(source, 'native'), join(root, 'src/native'), { recursive: true });
  cpSync(join(source, 'native.ts'), join(root, 'src/native.ts'));
  cpSync(join(source, 'engine/errors.ts'), join(root, 'src/engine/errors.ts'));
  writeFileSync(join(root, 'package.json'), '{"type":"module"}');
  prepare(root);
  const script = `${before}
    const { runtimePath } = await import(${JSON.stringify(join(root, 'src/native.ts'))});
    try { console.log(runtimePath()); } catch (error) { console.log([error.name, error.code, error.message, error.hint].join('|')); }`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], {
    encoding: 'utf8',
  });
  return stdout.trim() || stderr;
}

t('the executable lies beside the addon', () => {
  assert.is(runtimePath(), new URL(`../../npm/${triple}/kapsel-runtime`, import.meta.url).pathname);
});

t('importing loads nothing yet', () => {
  const script = `await import(${JSON.stringify(join(source, 'native.ts'))});
    console.log(process.report.getReport().sharedObjects.some((path) => path.endsWith('.node')));`;
  const { stdout } = spawnSync(process.execPath, ['--input-type=module', '--eval', script], { encoding: 'utf8' });
  assert.is(stdout.trim(), 'false');
});

t('a repository that is not built says how to build it', () => {
  const said = complaint('unbuilt', '', (root) => mkdirSync(join(root, 'npm', triple), { recursive: true }));
  const message = `npm/${triple}/kapsel.${triple}.node is not built`;
  assert.is(said, `UnsupportedError|NATIVE_MISSING|${message}|run \`npm run build\``);
});

t('an installation without its package says which is missing', () => {
  assert.match(complaint('uninstalled'), `NATIVE_MISSING|the package kapsel-${triple} is not installed|`);
});

t('an installed package is found', () => {
  const said = complaint('installed', '', (root) => {
    cpSync(join(source, '../npm', triple), join(root, 'node_modules', `kapsel-${triple}`), { recursive: true });
  });
  assert.is(said, join(scratch, 'installed/node_modules', `kapsel-${triple}`, 'kapsel-runtime'));
});

t('another architecture, another system, another libc', () => {
  const set = (name: string, value: string) => `Object.defineProperty(process, '${name}', { value: ${value} });`;
  const elsewhere = complaint('riscv', set('arch', "'riscv64'"));
  assert.match(elsewhere, 'PLATFORM_UNSUPPORTED|kapsel runs on Linux on x64 and arm64, not on linux on riscv64');
  assert.match(complaint('mac', set('platform', "'darwin'")), 'not on darwin on');
  const musl = complaint('musl', set('report', '{ getReport: () => ({ header: {} }) }'));
  assert.match(musl, 'PLATFORM_UNSUPPORTED|kapsel needs a Node built for glibc; this one is for musl');
});

t('an addon that cannot be loaded says why, in one line', () => {
  const said = complaint('broken', '', (root) => {
    mkdirSync(join(root, 'npm', triple), { recursive: true });
    writeFileSync(join(root, 'npm', triple, `kapsel.${triple}.node`), 'not an ELF file');
  });
  assert.match(said, /^UnsupportedError\|NATIVE_UNUSABLE\|.*cannot be loaded: .*(too short|invalid ELF header)\|$/);
});

t('codes name their families', () => {
  const family = (code: string) => errors.errorFrom({ code, message: 'm' }).name;
  assert.is(family('CONTAINER_NOT_FOUND'), 'NotFoundError');
  assert.is(family('IMAGE_NOT_FOUND'), 'NotFoundError');
  assert.is(family('NAME_IN_USE'), 'ConflictError');
  assert.is(family('CONTAINER_CONFLICT'), 'ConflictError');
  assert.is(family('CONTAINER_NOT_RUNNING'), 'ConflictError');
  assert.is(family('ARGUMENT_INVALID'), 'InvalidArgumentError');
  assert.is(family('DISK_FULL'), 'StorageError');
  assert.is(family('DATABASE_CORRUPT'), 'StorageError');
  assert.is(family('LAYER_HOSTILE'), 'ImageError');
  assert.is(family('DIGEST_MISMATCH'), 'ImageError');
  assert.is(family('REGISTRY_UNREACHABLE'), 'RegistryError');
  assert.is(family('SECCOMP_UNSUPPORTED'), 'UnsupportedError');
  assert.is(family('SOMETHING_ELSE'), 'KapselError');
});

t('an error carries its code, exit status, errno and hint', () => {
  const error = errors.errorFrom({ code: 'DISK_FULL', message: 'full', errno: 28, hint: 'free some' });
  assert.equal([error.exitCode, error.errno, error.hint, error.message], [1, 28, 'free some', 'full']);
  assert.is(errors.errorFrom({ code: 'X', message: 'm', errno: 0 }).errno, undefined);
  const start = errors.startErrorFrom({ code: 'PROGRAM_NOT_FOUND', message: 'm', exitCode: 127, errno: 2 });
  assert.instance(start, errors.ContainerStartError);
  assert.is(start.exitCode, 127);
  assert.is(new errors.ContainerStartError('X', 'm').exitCode, 125);
  assert.is(new errors.InvalidArgumentError('X', 'm').exitCode, 125);
  assert.is(new errors.AbortedError().exitCode, 130);
});

t.run();
