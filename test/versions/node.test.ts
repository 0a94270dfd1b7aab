// The supported Nodes besides the one that runs the tests: the bundled command line and SDK work with each.
// deadline: 300

import { execFileSync } from 'node:child_process';
import { existsSync, mkdirSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run, testEngine, type TestEngine } from '../harness/engine.ts';

const dist = new URL('../../dist/', import.meta.url).pathname;
const cache = join(process.env.XDG_CACHE_HOME ?? join(homedir(), '.cache'), 'kapsel-test');
const t = suite('node versions');
let engine: TestEngine;

/** That major version of Node, from the npm registry, kept between runs. */
function nodeOf(major: number): string {
  const prefix = join(cache, `node-${major}`);
  const name = `node-linux-${process.arch}`;
  const program = join(prefix, 'node_modules', name, 'bin/node');
  if (!existsSync(program)) {
    mkdirSync(prefix, { recursive: true });
    execFileSync('npm', ['install', '--prefix', prefix, '--no-audit', '--no-fund', '--no-save', `${name}@${major}`]);
  }
  return program;
}

t.before(async () => {
  engine = await testEngine();
});
t.after(() => engine.close());

for (const major of [22, 26]) {
  t(`the command line runs a container with Node ${major}`, async () => {
    const args = [join(dist, 'kapsel.js'), 'run', '--rm', 'host:bash', 'bash', '-c', 'echo $HOME; exit 7'];
    const { exitCode, stdout, stderr } = await run(nodeOf(major), args, { env: engine.env });
    assert.is(stderr, '');
    assert.is(stdout, '/root\n');
    assert.is(exitCode, 7);
  });

  t(`the SDK runs a container with Node ${major}`, async () => {
    const script = `
      import { Engine } from ${JSON.stringify(join(dist, 'index.js'))};
      const engine = new Engine({ root: process.env.KAPSEL_ROOT, runRoot: process.env.KAPSEL_RUN_ROOT,
        cgroupParent: process.env.KAPSEL_CGROUP_PARENT, defaultNetwork: 'none' });
      const { stdout } = await engine.containers.run('host:bash', { command: ['bash', '-c', 'echo $$'], rm: true });
      process.stdout.write(process.versions.node.split('.')[0] + ' ' + stdout);
      await engine.close();`;
    const args = ['--input-type=module', '-e', script];
    const { exitCode, stdout, stderr } = await run(nodeOf(major), args, { env: engine.env });
    assert.is(stderr, '');
    assert.is(stdout, `${major} 1\n`);
    assert.is(exitCode, 0);
  });
}

t('a Node that is too old is told so in one line', async () => {
  const { exitCode, stderr } = await run(nodeOf(20), [join(dist, 'kapsel.js'), 'version']);
  assert.match(stderr, /^kapsel: Node 20\.[\d.]+ is too old: kapsel needs Node 22\.13 or later\n$/);
  assert.is(exitCode, 125);
});

t.run();
