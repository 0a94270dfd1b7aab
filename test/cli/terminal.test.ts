// A user at a terminal: size, keys, detaching, and the terminal as it was when all is over.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { createServer } from 'node:net';
import { type TestEngine, testEngine } from '../harness/engine.ts';
import { Pty } from './pty.ts';

const cli = `"${process.execPath}" "${new URL('../../dist/kapsel.js', import.meta.url).pathname}"`;
const image = 'host:bash,cat,sleep,stty';

const t = suite('cli terminal');
let engine: TestEngine;
t.before(async () => {
  engine = await testEngine();
});
t.after(() => engine.close());

const pty = (command: string) => Pty.open(command.replaceAll('kapsel', cli), engine.env);
const quoted = (script: string) => `'${script.replaceAll("'", `'\\''`)}'`;

t('run -it: the program has a terminal of the user’s size, and hears of a new one', async () => {
  const script = `trap 'stty size; exit 3' WINCH; stty size; while :; do sleep 0.05; done`;
  const terminal = await pty(`kapsel run -it --rm ${image} bash -c ${quoted(script)}`);
  await terminal.shows(/^24 80\r/m);
  await terminal.resize(132, 50);
  await terminal.shows(/^50 132\r/m);
  assert.is(await terminal.exited, 3);
});

t('run -it: ctrl-c and ctrl-z are the program’s, and the terminal is as it was afterwards', async () => {
  const script = `trap 'echo interrupted' INT; trap 'echo stopped' TSTP; echo ready; read line; echo "read:$line"; exit 4`;
  const terminal = await pty(`kapsel run -it --rm ${image} bash -c ${quoted(script)}; echo "code:$?"; cat`);
  await terminal.shows(/^ready\r/m);
  assert.is.not(await terminal.settings(), terminal.before);
  terminal.type('\u0003');
  await terminal.shows(/^\^?C?interrupted\r/m);
  terminal.type('typed\r');
  await terminal.shows(/^read:typed\r/m);
  await terminal.shows(/^code:4\r/m);
  assert.is(await terminal.settings(), terminal.before);
  terminal.type('\u0004');
  await terminal.exited;
});

t(
  'run -it: the terminal is as it was after kapsel is killed by a signal it can catch, or the program cannot start',
  async () => {
    const missing = await pty(`kapsel run -it --rm ${image} nothing; echo "code:$?"; cat`);
    await missing.shows(/^code:127\r/m);
    assert.is(await missing.settings(), missing.before);
    missing.type('\u0004');
    await missing.exited;

    const killed = await pty(
      `kapsel run -it --name killed ${image} bash -c ${quoted('echo up; sleep 60')}; echo "code:$?"; cat`,
    );
    await killed.shows(/^up\r/m);
    await engine.kapsel(['kill', 'killed']);
    await killed.shows(/^code:137\r/m);
    assert.is(await killed.settings(), killed.before);
    killed.type('\u0004');
    await killed.exited;
    await engine.kapsel(['rm', '-f', 'killed']);
  },
);

t('the terminal is as it was when a signal ends kapsel and not the program', async () => {
  const script = quoted('echo up; sleep 60');
  const terminal = await pty(
    `kapsel run -it --name left --sig-proxy=false ${image} bash -c ${script}; echo "code:$?"; cat`,
  );
  await terminal.shows(/^up\r/m);
  assert.is.not(await terminal.settings(), terminal.before);
  process.kill(terminal.descendant('--sig-proxy=false'), 'SIGTERM');
  await terminal.shows(/code:143\r/m);
  assert.is(await terminal.settings(), terminal.before);
  terminal.type('\u0004');
  await terminal.exited;
  await engine.kapsel(['rm', '-f', 'left']);
});

t('detach keys: kapsel prints nothing and exits 0, the container runs on, attach comes back', async () => {
  const script = `echo ready; read line; echo "read:$line"; sleep 60`;
  const terminal = await pty(`kapsel run -it --name kept ${image} bash -c ${quoted(script)}; echo "code:$?"`);
  await terminal.shows(/^ready\r/m);
  terminal.type('\u0010\u0011');
  await terminal.shows(/^code:0\r/m);
  assert.match(terminal.output, /ready\r+\ncode:0/);
  await terminal.exited;
  assert.is((await engine.kapsel(['inspect', '-f', '{{.State.Running}}', 'kept'])).stdout, 'true\n');

  const again = await pty(`kapsel attach --detach-keys x,y kept; echo "code:$?"`);
  await new Promise((resolve) => setTimeout(resolve, 500));
  again.type('again\r');
  await again.shows(/^read:again\r/m);
  again.type('xy');
  await again.shows(/^code:0\r/m);
  await again.exited;
  await engine.kapsel(['rm', '-f', 'kept']);
});

t('exec -it: a terminal of its own, its size, its exit code', async () => {
  await engine.kapsel(['run', '-d', '--name', 'base', image, 'sleep', '60']);
  const terminal = await pty(
    `kapsel exec -it base bash -c ${quoted('stty size; read line; stty size; exit 6')}; echo "code:$?"`,
  );
  await terminal.shows(/^24 80\r/m);
  await terminal.resize(100, 30);
  await new Promise((resolve) => setTimeout(resolve, 300));
  terminal.type('\r');
  await terminal.shows(/^30 100\r/m);
  await terminal.shows(/^code:6\r/m);
  await terminal.exited;
  await engine.kapsel(['rm', '-f', 'base']);
});

t('run -t without -i: output of a terminal, and ctrl-c ends it', async () => {
  const terminal = await pty(
    `kapsel run -t --rm ${image} bash -c ${quoted("trap 'exit 9' INT; stty size; sleep 60 & wait")}; echo "code:$?"`,
  );
  await terminal.shows(/^24 80\r/m);
  terminal.type('\u0003');
  await terminal.shows(/^(\^C)?code:9\r/m);
  await terminal.exited;
});

t('a pull is shown as it moves, on standard error; ctrl-c ends it with 130, the terminal in order', async () => {
  // A registry that takes the question and never answers.
  const silent = createServer(() => {}).listen(0, '127.0.0.1');
  await new Promise((resolve) => silent.once('listening', resolve));
  const { port } = silent.address() as { port: number };
  const terminal = await pty(`kapsel pull 127.0.0.1:${port}/silent; echo "code:$?"; cat`);
  await new Promise((resolve) => setTimeout(resolve, 800));
  terminal.type('\u0003');
  await terminal.shows(/^code:130\r/m);
  assert.is(await terminal.settings(), terminal.before);
  terminal.type('\u0004');
  await terminal.exited;
  silent.close();
});

t.run();
