// `npm start`: sets everything up once, runs the main job or any command, and says what is missing in one line.

import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run, testEngine, type TestEngine } from '../harness/engine.ts';

const repository = new URL('../../', import.meta.url).pathname;
const start = join(repository, 'scripts/start.mjs');
const t = suite('npm start');
let engine: TestEngine;

t.before(async () => {
  engine = await testEngine();
});
t.after(() => engine.close());

t('with arguments is kapsel with these arguments', async () => {
  const { exitCode, stdout, stderr } = await run(process.execPath, [start, 'version'], { env: engine.env });
  assert.is(exitCode, 0, stderr);
  assert.match(stdout, /kapsel/i);
});

t('a second time installs and builds nothing', async () => {
  const { stderr } = await run(process.execPath, [start, 'version'], { env: engine.env });
  assert.is(stderr, '');
});

t('without arguments shows the host and a container side by side', async () => {
  const { exitCode, stdout, stderr } = await run(process.execPath, [start], { env: engine.env });
  assert.is(exitCode, 0, stderr);
  for (const what of [/host/i, /container/i, /process id/i, /hostname/i, /interfaces/i, /overlay/i, /memory/i]) {
    assert.match(stdout, what);
  }
});

t("ends with the program's own exit code", async () => {
  const args = [start, 'run', '--rm', 'host:bash', 'bash', '-c', 'exit 42'];
  assert.is((await run(process.execPath, args, { env: engine.env })).exitCode, 42);
});

t('an ordinary user is shown the exact command for a missing Debian package', async () => {
  const missing = "[{ package: 'no-such-package', program: 'no-such-program', why: 'a test asks for it' }]";
  const script = `import('./scripts/setup.mjs').then((setup) => setup.debianPackages(${missing}))`;
  const { exitCode, stderr } = await run(process.execPath, ['-e', script], { cwd: repository, uid: 65534 });
  assert.is(exitCode, 1);
  assert.match(stderr, 'Debian package no-such-package is missing: a test asks for it');
  assert.match(stderr, 'sudo apt-get install -y --no-install-recommends no-such-package');
});

t.run();
