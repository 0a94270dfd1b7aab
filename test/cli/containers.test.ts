// The command line with real containers: output, exit codes, signals, listings.
import { type ChildProcess, spawn } from 'node:child_process';
import { chownSync, existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { once } from 'node:events';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run, type TestEngine, testEngine } from '../harness/engine.ts';

const cli = new URL('../../dist/kapsel.js', import.meta.url).pathname;
const image = 'host:bash,cat,env,id,ls,pwd,sleep';

const t = suite('cli containers');
let engine: TestEngine;
t.before(async () => {
  engine = await testEngine();
});
t.after(async () => {
  for (const child of started) child.kill('SIGKILL');
  await engine.close();
});

const kapsel = (...args: string[]) => engine.kapsel(args);
const bash = (script: string, ...flags: string[]) => kapsel('run', '--rm', ...flags, image, 'bash', '-c', script);
const started: ChildProcess[] = [];
/** The foreground command, with its handle. */
const foreground = (...args: string[]) => {
  const child = spawn(process.execPath, [cli, ...args], {
    env: { ...process.env, ...engine.env },
    stdio: ['pipe', 'pipe', 'pipe'],
  });
  let output = '';
  child.stdout.setEncoding('utf8').on('data', (text: string) => (output += text));
  const ended = once(child, 'close') as Promise<[number | null, NodeJS.Signals | null]>;
  const says = async (text: string) => {
    while (!output.includes(text)) {
      await Promise.race([once(child.stdout, 'data'), ended.then(() => Promise.reject(new Error(`ended: ${output}`)))]);
    }
  };
  // A test that fails must not leave it to hang the others.
  started.push(child);
  return { child, ended, says, output: () => output };
};

t('run: both streams, each to its own', async () => {
  const { exitCode, stdout, stderr } = await bash('echo out; echo err >&2');
  assert.is(stderr, 'err\n');
  assert.is(stdout, 'out\n');
  assert.is(exitCode, 0);
});

t('run: the program’s exit code, and 128 and the signal’s number', async () => {
  assert.is((await bash('exit 42')).exitCode, 42);
  assert.is((await bash('kill -TERM $$; sleep 5', '--init')).exitCode, 143);
  assert.is((await bash('kill -KILL $$; sleep 5', '--init')).exitCode, 137);
});

t('run: 127 for a program that is missing, 126 for one that cannot be run, 125 for kapsel’s own failures', async () => {
  const missing = await kapsel('run', '--rm', image, 'nothing');
  assert.is(missing.exitCode, 127);
  assert.match(missing.stderr, /^kapsel: [^\n]*nothing[^\n]*\n$/);
  const directory = await kapsel('run', '--rm', image, '/etc');
  assert.is(directory.exitCode, 126);
  assert.match(directory.stderr, /^kapsel: [^\n]*\n$/);
  const memory = await kapsel('run', '--rm', '-m', 'lots', image, 'ls');
  assert.is(memory.exitCode, 125);
  assert.match(memory.stderr, /^kapsel: invalid size 'lots' for [^\n]*\n$/);
  const absent = await kapsel('run', '--rm', '--pull', 'never', 'localhost/absent', 'ls');
  assert.is(absent.exitCode, 125);
  assert.match(absent.stderr, /^kapsel: [^\n]*absent[^\n]*\n$/);
});

t('run: standard input with -i, and none without', async () => {
  const given = await engine.kapsel(['run', '--rm', '-i', image, 'cat'], { input: 'a\nb\n' });
  assert.is(given.stdout, 'a\nb\n');
  const none = await engine.kapsel(['run', '--rm', image, 'cat'], { input: 'a\nb\n' });
  assert.is(none.stdout, '');
  assert.is(none.exitCode, 0);
});

t('run: a megabyte through both ways is the same megabyte', async () => {
  const input = Buffer.alloc(1 << 20, 'kapsel ').toString();
  const { stdout } = await engine.kapsel(['run', '--rm', '-i', image, 'cat'], { input });
  assert.ok(stdout === input);
});

t('run: the program’s own flags reach it', async () => {
  assert.match((await kapsel('run', '--rm', image, 'ls', '-ld', '--', '/')).stdout, /^d.* \/\n$/);
  assert.is((await kapsel('run', '--rm', '-e', 'A=1', image, 'env', '-i')).stdout, '');
});

t('run: environment, directory, user, hostname', async () => {
  const file = join(engine.directory, 'env');
  writeFileSync(file, 'FROM_FILE=1\nBOTH=file\n');
  const { stdout } = await bash(
    'echo $FROM_FILE $BOTH; pwd; id -u; id -g; echo $HOSTNAME',
    '--env-file',
    file,
    '-e',
    'BOTH=flag',
    '-w',
    '/tmp',
    '-u',
    '12:34',
    '-h',
    'box',
  );
  assert.is(stdout, '1 flag\n/tmp\n12\n34\nbox\n');
});

t('run: --cidfile holds the id, and is refused where it is', async () => {
  const path = join(engine.directory, 'cid');
  const { exitCode } = await kapsel('run', '--cidfile', path, '--name', 'cid', image, 'ls');
  assert.is(exitCode, 0);
  const id = readFileSync(path, 'utf8');
  assert.is((await kapsel('inspect', '-f', '{{.Id}}', 'cid')).stdout, `${id}\n`);
  const again = await kapsel('run', '--cidfile', path, image, 'ls');
  assert.is(again.exitCode, 125);
  assert.match(again.stderr, /^kapsel: container ID file found, [^\n]*\n$/);
  const failing = join(engine.directory, 'cid-failing');
  await kapsel('run', '--cidfile', failing, '-m', 'lots', image, 'ls');
  assert.not.ok(existsSync(failing));
  await kapsel('rm', 'cid');
});

t('run: signals go to the program', async () => {
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGUSR1', 'SIGHUP', 'SIGQUIT'] as const) {
    const script = `trap 'echo got; exit 7' ${signal.slice(3)}; echo ready; while :; do sleep 0.05; done`;
    const { child, ended, says, output } = foreground('run', '--rm', image, 'bash', '-c', script);
    await says('ready');
    child.kill(signal);
    const [code] = await ended;
    assert.is(code, 7, signal);
    assert.match(output(), /got/);
  }
});

t('run: the third signal in a row frees the user of a program that does not care', async () => {
  const script = `trap '' INT TERM; echo ready; while :; do sleep 0.05; done`;
  const { child, ended, says } = foreground('run', '--name', 'careless', image, 'bash', '-c', script);
  await says('ready');
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGINT'] as const) {
    child.kill(signal);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  assert.equal(await ended, [1, null]);
  assert.match((await kapsel('ps')).stdout, /careless/);
  assert.is((await kapsel('rm', '-f', 'careless')).exitCode, 0);
});

t('run: --sig-proxy=false keeps signals from the program', async () => {
  const script = `trap 'echo got' TERM; echo ready; while :; do sleep 0.05; done`;
  const { child, ended, says } = foreground(
    'run',
    '--name',
    'unproxied',
    '--sig-proxy=false',
    image,
    'bash',
    '-c',
    script,
  );
  await says('ready');
  child.kill('SIGTERM');
  await ended;
  assert.is((await kapsel('inspect', '-f', '{{.State.Running}}', 'unproxied')).stdout, 'true\n');
  await kapsel('rm', '-f', 'unproxied');
});

t('run: when nobody reads the output any more kapsel ends without a word, and the program with --rm too', async () => {
  const script = 'while echo y; do :; done';
  for (const flag of ['--rm', '--rm=false']) {
    const { child, ended, says } = foreground('run', '--name', 'unread', flag, image, 'bash', '-c', script);
    let complaints = '';
    child.stderr.on('data', (chunk: Buffer) => (complaints += chunk.toString()));
    await says('y');
    child.stdout.destroy();
    await ended;
    assert.is(complaints, '');
    const { stdout } = await kapsel('ps', '-a', '--format', '{{.Names}} {{.State}}');
    assert.is(stdout, flag === '--rm' ? '' : 'unread running\n');
  }
  await kapsel('rm', '-f', 'unread');
});

t('a container’s life, verb by verb', async () => {
  const { stdout, exitCode } = await kapsel(
    'run',
    '-d',
    '--name',
    'life',
    '-l',
    'team=a',
    image,
    'bash',
    '-c',
    'trap exit TERM; echo up; echo bad >&2; while :; do sleep 0.1; done',
  );
  assert.is(exitCode, 0);
  assert.match(stdout, /^[0-9a-f]{64}\n$/);
  const id = stdout.trim();

  const listed = (await kapsel('ps')).stdout.split('\n');
  assert.match(listed[0]!, /^CONTAINER ID +IMAGE +COMMAND +CREATED +STATUS +PORTS +NAMES$/);
  assert.match(listed[1]!, new RegExp(`^${id.slice(0, 12)} +host:\\S+ +"bash -c trap exit T…" +.*ago +Up .* life$`));
  assert.is((await kapsel('ps', '-q', '--no-trunc')).stdout, `${id}\n`);
  assert.is(
    (await kapsel('ps', '--format', '{{.Names}}\\t{{.State}}\\t{{.Label "team"}}')).stdout,
    'life\trunning\ta\n',
  );
  assert.is((await kapsel('ps', '-q', '-f', 'label=team=b')).stdout, '');
  assert.match(
    (await kapsel('ps', '-f', 'name=life', '--format', 'table {{.ID}}\\t{{.Names}}')).stdout,
    /^CONTAINER ID +NAMES\n\w{12} +life\n$/,
  );
  assert.is(JSON.parse((await kapsel('ps', '--format', 'json')).stdout).Names, 'life');

  const logs = await kapsel('logs', 'life');
  assert.is(logs.stdout, 'up\n');
  assert.is(logs.stderr, 'bad\n');
  assert.match((await kapsel('logs', '-t', '--tail', '1', 'life')).stderr, /^\d{4}-\d\d-\d\dT[\d:.]+Z bad\n$/);

  const [inspected] = JSON.parse((await kapsel('inspect', 'life')).stdout);
  assert.is(inspected.Id, id);
  assert.is(inspected.State.Status, 'running');
  assert.is(
    (await kapsel('inspect', '-f', '{{.Name}} {{json .Config.Labels}}', id.slice(0, 6))).stdout,
    '/life {"team":"a"}\n',
  );

  assert.is((await kapsel('pause', 'life')).stdout, 'life\n');
  assert.match((await kapsel('ps')).stdout, /\(Paused\)/);
  assert.is((await kapsel('unpause', 'life')).stdout, 'life\n');

  const waiting = kapsel('wait', 'life');
  assert.is((await kapsel('stop', '-t', '5', 'life')).stdout, 'life\n');
  assert.is((await waiting).stdout, '0\n');
  assert.is((await kapsel('ps', '-q')).stdout, '');
  assert.match((await kapsel('ps', '-a')).stdout, /Exited \(0\) .* ago/);
  assert.is((await kapsel('ps', '-q', '-f', 'status=exited', '--no-trunc')).stdout, `${id}\n`);

  assert.is((await kapsel('start', 'life')).stdout, 'life\n');
  assert.is((await kapsel('restart', '-t', '5', 'life')).stdout, 'life\n');
  assert.is((await kapsel('kill', '-s', 'KILL', 'life')).stdout, 'life\n');
  assert.is((await kapsel('wait', 'life')).stdout, '137\n');
  assert.is((await kapsel('rm', 'life')).stdout, 'life\n');
  assert.is((await kapsel('ps', '-aq')).stdout, '');
});

t('create and start -ai: the streams are there from the first byte', async () => {
  await kapsel('create', '-i', '--name', 'later', image, 'bash', '-c', 'read line; echo "<$line>"; exit 5');
  assert.match((await kapsel('ps', '-a')).stdout, /Created/);
  const { stdout, exitCode } = await engine.kapsel(['start', '-ai', 'later'], { input: 'hello\n' });
  assert.is(stdout, '<hello>\n');
  assert.is(exitCode, 5);
  await kapsel('rm', 'later');
});

t('exec: output, exit code, environment, directory, user, input', async () => {
  await kapsel('run', '-d', '--name', 'host', image, 'sleep', '60');
  const script = 'echo $A; pwd; id -u; exit 9';
  const done = await kapsel('exec', '-e', 'A=1', '-w', '/tmp', '-u', '7', 'host', 'bash', '-c', script);
  assert.is(done.stdout, '1\n/tmp\n7\n');
  assert.is(done.exitCode, 9);
  assert.is((await engine.kapsel(['exec', '-i', 'host', 'cat'], { input: 'in' })).stdout, 'in');
  assert.is((await kapsel('exec', 'host', 'nothing')).exitCode, 127);
  assert.is((await kapsel('exec', '-d', 'host', 'bash', '-c', 'echo > /tmp/detached')).stdout, '');
  assert.is((await kapsel('exec', 'host', 'ls', '-a', '/tmp')).exitCode, 0);
  await kapsel('rm', '-f', 'host');
  const gone = await kapsel('exec', 'host', 'ls');
  assert.is(gone.exitCode, 1);
  assert.match(gone.stderr, /^kapsel: No such container: host[^\n]*\n$/);
});

t('exec: a signal ends the program, not the container', async () => {
  await kapsel('run', '-d', '--name', 'around', image, 'sleep', '60');
  const { child, ended, says } = foreground('exec', 'around', 'bash', '-c', 'echo ready; sleep 50 & wait');
  await says('ready');
  child.kill('SIGTERM');
  assert.is((await ended)[0], 143);
  assert.is((await kapsel('inspect', '-f', '{{.State.Running}}', 'around')).stdout, 'true\n');
  await kapsel('rm', '-f', 'around');
});

t('several at once: one failure is said, and the others are done', async () => {
  await kapsel('create', '--name', 'one', image, 'ls');
  await kapsel('create', '--name', 'two', image, 'ls');
  const { stdout, stderr, exitCode } = await kapsel('rm', 'one', 'missing', 'two');
  assert.is(stdout, 'one\ntwo\n');
  assert.match(stderr, /^kapsel: No such container: missing[^\n]*\n$/);
  assert.is(exitCode, 1);
  const forced = await kapsel('rm', '-f', 'missing');
  assert.is(forced.exitCode, 0);
  assert.is(forced.stdout, '');
});

t('a name twice is a conflict', async () => {
  await kapsel('create', '--name', 'taken', image, 'ls');
  const { stderr, exitCode } = await kapsel('run', '--name', 'taken', image, 'ls');
  assert.is(exitCode, 125);
  assert.match(stderr, /^kapsel: [^\n]*taken[^\n]*\n$/);
  await kapsel('rm', 'taken');
});

t('logs -f ends with the container, and with ctrl-c', async () => {
  await kapsel('run', '-d', '--name', 'talk', image, 'bash', '-c', 'echo a; sleep 0.5; echo b');
  assert.is((await kapsel('logs', '-f', 'talk')).stdout, 'a\nb\n');
  await kapsel('rm', '-f', 'talk');
  await kapsel('run', '-d', '--name', 'talk', image, 'bash', '-c', 'echo a; sleep 60');
  const { child, ended, says } = foreground('logs', '-f', 'talk');
  await says('a');
  child.kill('SIGINT');
  assert.is((await ended)[0], 130);
  await kapsel('rm', '-f', 'talk');
});

t('images: listed, described, removed', async () => {
  const { stdout } = await kapsel('images');
  assert.match(stdout, /^REPOSITORY +TAG +IMAGE ID +CREATED +SIZE\n/);
  const ids = (await kapsel('images', '-q', '--no-trunc')).stdout.trim().split('\n');
  assert.match(ids[0]!, /^sha256:[0-9a-f]{64}$/);
  const [described] = JSON.parse((await kapsel('inspect', '--type', 'image', image)).stdout);
  assert.ok(ids.includes(described.Id));
  assert.is((await kapsel('inspect', '--type', 'container', image)).exitCode, 1);
  const removed = await kapsel('rmi', image);
  assert.match(removed.stdout, /^Untagged: .*\n(.*\n)*Deleted: sha256:[0-9a-f]{64}\n$/);
  assert.is((await kapsel('rmi', image)).exitCode, 1);
});

t('volumes: made, listed, described, used, removed', async () => {
  assert.is((await kapsel('volume', 'create', '--label', 'a=b', 'data')).stdout, 'data\n');
  await bash('echo kept > /data/file', '-v', 'data:/data');
  assert.is((await bash('cat /data/file', '-v', 'data:/data:ro')).stdout, 'kept\n');
  assert.match((await kapsel('volume', 'ls')).stdout, /^DRIVER +VOLUME NAME\nlocal +data\n$/);
  assert.is((await kapsel('volume', 'ls', '-q', '-f', 'label=a=c')).stdout, '');
  assert.is(JSON.parse((await kapsel('inspect', 'data')).stdout)[0].Name, 'data');
  assert.is((await kapsel('volume', 'rm', 'data')).stdout, 'data\n');
  assert.is((await kapsel('volume', 'rm', 'data')).exitCode, 1);
});

t('info says what this machine is', async () => {
  const { stdout, exitCode } = await kapsel('info');
  assert.is(exitCode, 0);
  assert.match(stdout, /^Cgroup Version: (v1|v2|hybrid)$/m);
  assert.match(stdout, new RegExp(`^Root Dir: ${engine.root}$`, 'm'));
  assert.is(JSON.parse((await kapsel('info', '-f', 'json')).stdout).KapselRunDir, engine.runRoot);
});

t('demo: host and container side by side', async () => {
  const { stdout, stderr, exitCode } = await kapsel('demo');
  assert.is(stderr, '');
  assert.is(exitCode, 0);
  assert.match(stdout, /^Own process id +\d+ +1$/m);
  assert.match(stdout, /^Network interfaces +.*lo.* +lo$/m);
  assert.match(stdout, /^Root file system +\w+ +overlay$/m);
  assert.match(stdout, /^Processes in sight +\d+ +1$/m);
  assert.match(stdout, /^System call filter +\w+ +on$/m);
  assert.match(stdout, /^Memory limit \(bytes\) +\w+ +268435456$/m);
  assert.is((await kapsel('ps', '-aq')).stdout, '');
});

t('demo: an ordinary user sees it too, with a word about what is missing', async () => {
  if (process.getuid?.() !== 0) return;
  const home = mkdtempSync(join(tmpdir(), 'kapsel-test-user-'));
  chownSync(home, 12345, 12345);
  const { stdout, stderr, exitCode } = await run(process.execPath, [cli, 'demo'], {
    uid: 12345,
    env: { HOME: home, XDG_DATA_HOME: join(home, 'data'), XDG_RUNTIME_DIR: home, XDG_CACHE_HOME: '' },
  });
  rmSync(home, { recursive: true, force: true });
  assert.is(exitCode, 0, stderr);
  assert.match(stdout, /^User id +12345 \(0 is 0 outside\) +0 \(0 is 12345 outside\)$/m);
  assert.match(stdout, /^Own process id +\d+ +1$/m);
  assert.match(stderr, /^(WARNING: [^\n]+\n)*$/);
});

t('a dead monitor is noticed: ps tells the truth', async () => {
  await kapsel('run', '-d', '--name', 'orphan', image, 'sleep', '60');
  const pid = Number((await kapsel('inspect', '-f', '{{.State.Pid}}', 'orphan')).stdout);
  const parent = /^PPid:\t(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))![1]!;
  process.kill(Number(parent), 'SIGKILL');
  assert.match((await kapsel('ps', '-a')).stdout, /Exited \(137\)/);
  await kapsel('rm', 'orphan');
});

t.run();
