// The bundled command line from outside, as far as it goes without a container.
import { spawnSync } from 'node:child_process';
import {
  chownSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { commands } from '../../src/cli/verbs.ts';

const repository = new URL('../../', import.meta.url).pathname;
const dist = join(repository, 'dist');
const directory = mkdtempSync(join(tmpdir(), 'kapsel-test-cli-'));

const t = suite('cli dispatch');
t.after(() => rmSync(directory, { recursive: true, force: true }));

function kapsel(args: string[], environment: Record<string, string> = {}) {
  const { status, stdout, stderr } = spawnSync(process.execPath, [join(dist, 'kapsel.js'), ...args], {
    encoding: 'utf8',
    env: {
      ...process.env,
      XDG_DATA_HOME: join(directory, 'data'),
      KAPSEL_ROOT: join(directory, 'root'),
      KAPSEL_RUN_ROOT: join(directory, 'run'),
      DEBUG: '',
      ...environment,
    },
    input: '',
    timeout: 20_000,
  });
  return { status, stdout, stderr };
}

t('a wrong flag is one line, where to look, and 125', () => {
  const { status, stdout, stderr } = kapsel(['run', '--foo', 'alpine']);
  assert.is(status, 125);
  assert.is(stdout, '');
  assert.is(stderr, "kapsel: unknown flag: --foo\nSee 'kapsel run --help'.\n");
});

t('a wrong flag before the verb too', () => {
  const { status, stderr } = kapsel(['--foo', 'ps']);
  assert.is(status, 125);
  assert.is(stderr, "kapsel: unknown flag: --foo\nSee 'kapsel --help'.\n");
});

t('a missing argument is 1, as with docker', () => {
  const { status, stderr } = kapsel(['run']);
  assert.is(status, 1);
  assert.is(stderr, "kapsel: 'kapsel run' requires at least 1 argument\nSee 'kapsel run --help'.\n");
});

t('a word nobody knows is said to be unknown', () => {
  const { status, stderr } = kapsel(['frobnicate', '--x']);
  assert.is(status, 1);
  assert.is(stderr, "kapsel: unknown command: kapsel frobnicate: run 'kapsel --help' for those there are\n");
  assert.match(kapsel(['volume', 'frobnicate']).stderr, /unknown command: kapsel volume frobnicate/);
  assert.match(kapsel(['help', 'frobnicate']).stderr, /unknown command: kapsel frobnicate/);
});

t('refusals come before anything has happened', () => {
  const { status, stderr } = kapsel(['run', '--log-driver', 'syslog', 'alpine']);
  assert.is(status, 125);
  assert.match(stderr, /^kapsel: --log-driver syslog: .*\n$/);
});

t('a root that cannot be is one line, and what to do', () => {
  const file = join(directory, 'file');
  writeFileSync(file, 'mine');
  for (const [flag, path, shown] of [
    ['--root', file, file],
    ['--root', join(file, 'below'), join(file, 'below')],
    ['--run-root', file, join(file, 'containers')],
  ] as const) {
    const { status, stdout, stderr } = kapsel([flag, path, 'ps']);
    assert.is(status, 125);
    assert.is(stdout, '');
    assert.match(stderr, `kapsel: ${shown} cannot be made: it, or a part of its path, is no directory`);
    assert.match(stderr, 'give another --root or --run-root');
    assert.not.match(stderr, / at /);
  }
  assert.is(readFileSync(file, 'utf8'), 'mine');
});

t('a terminal is not given where there is none', () => {
  const { status, stderr } = kapsel(['run', '-it', 'alpine']);
  assert.is(status, 1);
  assert.is(stderr, 'kapsel: the input device is not a TTY\n');
});

t('the stack is shown with DEBUG or --debug, and only then', () => {
  assert.not.match(kapsel(['run', '--foo', 'x']).stderr, /\n\s+at /);
  assert.match(kapsel(['--debug', 'run', '--foo', 'x']).stderr, /\n\s+at /);
  assert.match(kapsel(['run', '--foo', 'x'], { DEBUG: '1' }).stderr, /\n\s+at /);
});

t('help: of kapsel, with every verb that is not hidden', () => {
  for (const args of [[], ['--help'], ['help']]) {
    const { status, stdout, stderr } = kapsel(args);
    assert.is(status, 0, stderr);
    for (const { name, hidden } of commands) {
      if (name.includes(' ')) continue;
      const found = new RegExp(`^  ${name} `, 'm').test(stdout);
      assert.is(found, !hidden, name);
    }
    assert.match(stdout, /--run-root/);
  }
});

t('help: of a verb, by --help before and after its flags, and by help', () => {
  for (const args of [
    ['run', '--help'],
    ['run', '-it', '--help'],
    ['help', 'run'],
    ['--help', 'run'],
  ]) {
    const { status, stdout } = kapsel(args);
    assert.is(status, 0);
    assert.match(stdout, /^Create and run a new container from an image\n/);
    assert.match(stdout, /\$ kapsel run \[OPTIONS\] IMAGE \[COMMAND\] \[ARG\.\.\.\]/);
    assert.match(stdout, /-e, --env=list\.\.\. +Set environment variables/);
  }
});

t('help: of a noun', () => {
  const { status, stdout } = kapsel(['volume']);
  assert.is(status, 0);
  assert.match(stdout, /volume ls +List volumes/);
  assert.match(kapsel(['volume', 'ls', '--help']).stdout, /kapsel volume ls \[OPTIONS\]/);
});

t('Docker’s long forms are the same verbs', () => {
  assert.match(kapsel(['container']).stdout, /^  container run +Create and run a new container from an image$/m);
  assert.match(kapsel(['image', 'inspect', '--type', 'foo', 'x']).stderr, /unknown type: "foo"/);
  assert.match(kapsel(['container', 'ls', '--foo']).stderr, /See 'kapsel ps --help'/);
  assert.match(kapsel(['image', 'rm', '--foo']).stderr, /See 'kapsel rmi --help'/);
});

t('the version, short and long', () => {
  const { version } = JSON.parse(readFileSync(join(repository, 'package.json'), 'utf8')) as { version: string };
  assert.is(kapsel(['version', '-f', '{{.Version}}']).stdout, `${version}\n`);
  assert.match(kapsel(['--version']).stdout, new RegExp(`Version: +${version}`));
  assert.is(JSON.parse(kapsel(['version', '-f', 'json']).stdout).Node, process.versions.node);
});

t('a broken template is one line', () => {
  const { status, stderr } = kapsel(['version', '-f', '{{.Foo']);
  assert.is(status, 1);
  assert.is(stderr, 'kapsel: failed to parse template: unclosed action\n');
});

t('a reader that goes away ends kapsel without a word', () => {
  const script = `set -o pipefail; "${process.execPath}" "${join(dist, 'kapsel.js')}" version | true`;
  const { status, stderr } = spawnSync('bash', ['-c', script], { encoding: 'utf8' });
  assert.is(stderr, '');
  assert.ok(status === 141 || status === 0, String(status));
});

t('the compile cache is not taken from a directory of somebody else', function () {
  if (process.getuid?.() !== 0) return;
  const home = join(directory, 'home');
  mkdirSync(home);
  chownSync(home, 12345, 12345);
  assert.is(kapsel(['--version'], { HOME: home, XDG_CACHE_HOME: '' }).status, 0);
  assert.equal(readdirSync(home), []);
  assert.is(kapsel(['--version'], { XDG_CACHE_HOME: home }).status, 0);
  assert.equal(readdirSync(home), []);
});

t('the hot verbs load neither oclif nor listr2 nor Node’s slow modules', () => {
  const script = `
    const loaded = () => Object.keys(require.cache).map((path) => path.split('/').pop());
    require(${JSON.stringify(join(dist, 'main.cjs'))}).main(['ps', '-f', 'foo']).then(() => {
      const slow = process.moduleLoadList.filter((name) => /NativeModule (crypto|https?|_http_client|net|tls|child_process|internal.fs.promises)$/.test(name));
      process.stdout.write(JSON.stringify({ files: loaded(), slow }));
    });`;
  const file = join(directory, 'loads.cjs');
  writeFileSync(file, script);
  const { stdout } = spawnSync(process.execPath, [file], { encoding: 'utf8' });
  const { files, slow } = JSON.parse(stdout) as { files: string[]; slow: string[] };
  assert.equal(
    files.filter((file) => /oclif|dist\.cjs|log-update|wrap-ansi/.test(file)),
    [],
  );
  assert.equal(slow, []);
});

t('nothing that ships is WebAssembly, or brings it', () => {
  for (const entry of readdirSync(dist, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    assert.not.match(entry.name, /\.wasm$/);
    const content = readFileSync(join(entry.parentPath, entry.name));
    assert.is(content.indexOf('WebAssembly'), -1, entry.name);
    assert.is(content.indexOf(Buffer.from('AGFzbQ')), -1, `${entry.name} holds a module as base64`);
    assert.is(content.indexOf(Buffer.from([0, 0x61, 0x73, 0x6d])), -1, entry.name);
  }
});

t('a plugin in the user’s data directory brings its commands', () => {
  const plugin = join(directory, 'plugin');
  mkdirSync(join(plugin, 'commands', 'greet'), { recursive: true });
  mkdirSync(join(plugin, 'node_modules', '@oclif'), { recursive: true });
  symlinkSync(join(repository, 'node_modules', '@oclif', 'core'), join(plugin, 'node_modules', '@oclif', 'core'));
  writeFileSync(
    join(plugin, 'package.json'),
    JSON.stringify({
      name: 'kapsel-plugin-greet',
      version: '1.0.0',
      main: 'index.js',
      oclif: { commands: './commands' },
    }),
  );
  writeFileSync(join(plugin, 'index.js'), '');
  writeFileSync(
    join(plugin, 'commands', 'greet', 'me.js'),
    `const { Args, Command, Flags } = require('@oclif/core');
     module.exports = class extends Command {
       static summary = 'Greet somebody';
       static args = { name: Args.string({ required: true }) };
       static flags = { loud: Flags.boolean() };
       async run() {
         const { args, flags } = await this.parse(this.constructor);
         if (args.name === 'nobody') this.error('there is nobody', { exit: 7 });
         this.log(flags.loud ? args.name.toUpperCase() : args.name);
       }
     };`,
  );
  const linked = kapsel(['plugins', 'link', plugin]);
  assert.is(linked.stderr, '');
  assert.is(linked.stdout, 'kapsel-plugin-greet\n');
  assert.match(kapsel(['plugins']).stdout, /kapsel-plugin-greet +1\.0\.0 +link +/);
  const greeted = kapsel(['greet', 'me', 'ann', '--loud']);
  assert.is(greeted.stderr, '');
  assert.is(greeted.stdout, 'ANN\n');
  assert.match(kapsel(['greet']).stdout, /greet me +Greet somebody/);
  assert.match(kapsel(['greet', 'me', '--help']).stdout, /Greet somebody/);
  assert.match(kapsel(['--help']).stdout, /greet/);
  const failed = kapsel(['greet', 'me', 'nobody']);
  assert.is(failed.status, 7);
  assert.is(failed.stderr, 'kapsel: there is nobody\n');
  const unknown = kapsel(['greet', 'me', 'ann', '--quietly']);
  assert.is(unknown.status, 2);
  assert.not.match(unknown.stderr, /\n\s+at /);
  assert.is(kapsel(['plugins', 'uninstall', 'kapsel-plugin-greet']).status, 0);
  assert.match(kapsel(['greet']).stderr, /unknown command: kapsel greet/);
  assert.match(kapsel(['plugins', 'uninstall', 'kapsel-plugin-greet']).stderr, /no such plugin/);
});

t('npm installs a plugin into the user’s data directory, and takes it away', () => {
  const plugin = join(directory, 'installed');
  mkdirSync(plugin);
  writeFileSync(
    join(plugin, 'package.json'),
    JSON.stringify({
      name: 'kapsel-plugin-hello',
      version: '2.0.0',
      main: 'index.js',
      oclif: { commands: { strategy: 'explicit', target: './index.js', identifier: 'commands' } },
    }),
  );
  // A class of no base: what oclif asks of a command is little.
  writeFileSync(
    join(plugin, 'index.js'),
    `exports.commands = { hello: class { static async run() { console.log('hello'); } } };`,
  );
  const installed = kapsel(['plugins', 'install', plugin]);
  assert.is(installed.stdout, 'kapsel-plugin-hello\n', installed.stderr);
  assert.is(kapsel(['hello']).stdout, 'hello\n');
  assert.is(kapsel(['plugins', 'uninstall', 'kapsel-plugin-hello']).status, 0);
  assert.is(kapsel(['hello']).status, 1);
});

t('a package that is no plugin is not kept', () => {
  const other = join(directory, 'other');
  mkdirSync(other);
  writeFileSync(join(other, 'package.json'), JSON.stringify({ name: 'other', version: '1.0.0' }));
  assert.match(
    kapsel(['plugins', 'install', other]).stderr,
    /kapsel: other is no plugin: its package.json has no "oclif"\n$/,
  );
  assert.match(kapsel(['plugins', 'link', other]).stderr, /is no plugin/);
  assert.not.match(kapsel(['plugins']).stdout, /other/);
});

t.run();
