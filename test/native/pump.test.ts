// The pump between this process's side and a container's. The container is a real program on pipes; the test speaks for its
// monitor on the other end of the connection.

import { constants, mkdtempSync, openSync, readFileSync, readSync, writeFileSync, writeSync } from 'node:fs';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { close, memfd, pipe, pump, reap, socketpair, spawn, type PumpEnd, type PumpOptions } from '../../src/native.ts';

const t = suite('pump');
const scratch = mkdtempSync(join(process.env.KAPSEL_TEST_SCRATCH ?? tmpdir(), 'pump-'));
const EXITED = '{"event":"exited","exitCode":3,"signal":null,"oomKilled":false,"finishedAt":"x"}\n';

/** A program whose stdio is the container's side of a pump, and the monitor's end of its connection. */
function container(argv: string[]) {
  const [stdin, toStdin] = pipe();
  const [stdout, fromStdout] = pipe();
  const [stderr, fromStderr] = pipe();
  const [connection, monitor] = socketpair();
  const fds = [stdin, fromStdout, fromStderr];
  const pid = spawn({ path: `/bin/${argv[0]}`, argv, env: ['PATH=/usr/bin:/bin'], fds });
  fds.forEach(close);
  let told = false;
  const tell = (line: string) => {
    told = true;
    writeSync(monitor, line);
  };
  const ended = reap(pid).then(() => {
    if (!told) tell(EXITED);
  });
  const streams = { connection, stdin: toStdin, stdout, stderr, terminal: false };
  return {
    streams,
    tell,
    pid,
    async done(pumping: Promise<PumpEnd>): Promise<PumpEnd> {
      const end = await pumping;
      await ended;
      [connection, monitor].forEach(close);
      return end;
    },
  };
}

async function text(fd: number): Promise<string> {
  let all = '';
  for await (const chunk of new Socket({ fd }).setEncoding('utf8')) all += chunk;
  return all;
}

const isOpen = (fd: number) => {
  try {
    readFileSync(`/proc/self/fdinfo/${fd}`);
    return true;
  } catch {
    return false;
  }
};

t('everything goes through, in both directions, and the end is the monitor’s word', async () => {
  const content = Buffer.alloc(3 << 20, 'a line of some length, to be counted\n');
  const file = join(scratch, 'input');
  writeFileSync(file, content);
  for (const kind of ['file', 'pipe'] as const) {
    const { streams, done, tell } = container(['sh', '-c', 'tee /dev/stderr']);
    tell('{"event":"started","pid":42}\n{"reply":"ok"}\n');
    const [input, feed] = kind === 'pipe' ? pipe() : [openSync(file, 'r'), undefined];
    const [fromOutput, output] = pipe();
    const [fromError, errorOutput] = pipe();
    const events: unknown[] = [];
    const pumping = pump({ ...streams, input, output, errorOutput }, (event) => events.push(event));
    if (feed !== undefined) new Socket({ fd: feed, readable: false, writable: true }).end(content);
    const texts = Promise.all([text(fromOutput), text(fromError)]);
    await sleep(200);
    tell(EXITED);
    const end = await done(pumping);
    [input, output, errorOutput].forEach(close);
    assert.equal(end, { event: 'exited', exitCode: 3, signal: null, oomKilled: false, finishedAt: 'x' });
    assert.equal(events, [{ event: 'started', pid: 42 }], kind);
    for (const got of await texts) assert.ok(got === content.toString(), `${kind}: ${got.length} bytes`);
    assert.not([streams.stdin, streams.stdout, streams.stderr].some(isOpen), 'the container’s side is closed');
  }
});

t('output goes to files, appended ones too, and to sockets', async () => {
  const appended = join(scratch, 'appended');
  writeFileSync(appended, 'before\n');
  const output = openSync(appended, constants.O_WRONLY | constants.O_APPEND);
  const [errorOutput, other] = socketpair();
  const { streams, done } = container(['sh', '-c', 'echo one; echo two >&2']);
  await done(pump({ ...streams, input: openSync('/dev/null', 'r'), output, errorOutput }));
  [output, errorOutput].forEach(close);
  assert.is(readFileSync(appended, 'utf8'), 'before\none\n');
  assert.is(await text(other), 'two\n');
});

t('an input that stays open never delays the end', async () => {
  const [input, feed] = pipe();
  const [from, output] = pipe();
  const { streams, done } = container(['echo', 'done']);
  const end = await done(pump({ ...streams, input, output, errorOutput: output }));
  assert.is(end.event, 'exited');
  [input, feed, output].forEach(close);
  assert.is(await text(from), 'done\n');
});

t('the program sees the end of the input, and what it says after that still comes', async () => {
  const [input, feed] = pipe();
  const [from, output] = pipe();
  const { streams, done } = container(['sh', '-c', 'cat; sleep 0.1; echo after']);
  const pumping = pump({ ...streams, input, output, errorOutput: output });
  writeSync(feed, 'typed\n');
  close(feed);
  assert.is((await done(pumping)).event, 'exited');
  [input, output].forEach(close);
  assert.is(await text(from), 'typed\nafter\n');
});

t('a program that closes its stdin does not make the pump spin or fail', async () => {
  const [input, feed] = pipe();
  const output = memfd('');
  const { streams, done, pid } = container(['sh', '-c', 'exec <&-; sleep 0.4']);
  const before = process.cpuUsage();
  const pumping = pump({ ...streams, input, output, errorOutput: output });
  writeSync(feed, 'nobody reads this');
  assert.is((await done(pumping)).event, 'exited');
  assert.ok(process.cpuUsage(before).user + process.cpuUsage(before).system < 200_000, `${pid}`);
  [input, feed, output].forEach(close);
});

t('one output that nobody reads does not hold up the other, nor the input', async () => {
  const [input, feed] = pipe();
  const [fromOutput, output] = pipe();
  const [fromError, errorOutput] = pipe();
  // Fills stdout's pipes to the brim, then answers what is typed on stderr.
  const script = 'yes | head -c 400000 & read line; echo "got $line" >&2; wait';
  const { streams, done } = container(['sh', '-c', script]);
  const pumping = pump({ ...streams, input, output, errorOutput });
  await sleep(100);
  writeSync(feed, 'this\n');
  const buffer = Buffer.alloc(100);
  assert.is(buffer.toString('utf8', 0, readSync(fromError, buffer)), 'got this\n');
  const rest = text(fromOutput);
  assert.is((await done(pumping)).event, 'exited');
  [input, feed, output, errorOutput, fromError].forEach(close);
  assert.is((await rest).length, 400_000);
});

t('output that is still on its way when the program has ended is written', async () => {
  const [from, output] = pipe();
  const { streams, done, tell } = container(['sh', '-c', 'yes | head -c 60000']);
  const { stderr, ...rest } = streams;
  close(stderr);
  await sleep(100);
  tell(EXITED);
  // The reader comes late, and wants less at a time than there is.
  const pumping = pump({ ...rest, input: openSync('/dev/null', 'r'), output });
  await sleep(50);
  const all = text(from);
  assert.is((await done(pumping)).event, 'exited');
  close(output);
  assert.is((await all).length, 60_000);
});

t('a descendant that keeps the output open does not delay the end', async () => {
  const output = memfd('');
  const { streams, tell, done, pid } = container(['sh', '-c', 'echo said; exec sleep 30']);
  const pumping = pump({ ...streams, input: openSync('/dev/null', 'r'), output, errorOutput: output });
  await sleep(100);
  tell(EXITED);
  const end = await pumping;
  assert.is(end.event, 'exited');
  process.kill(pid, 'SIGKILL');
  await done(Promise.resolve(end));
  const buffer = Buffer.alloc(10);
  assert.is(buffer.toString('utf8', 0, readSync(output, buffer, 0, 10, 0)), 'said\n');
  close(output);
});

t('an output that nobody reads any more ends it quietly', async () => {
  const [from, output] = pipe();
  const { streams, done } = container(['yes']);
  const pumping = pump({ ...streams, input: openSync('/dev/null', 'r'), output, errorOutput: output });
  readSync(from, Buffer.alloc(10));
  close(from);
  // yes itself then dies of SIGPIPE, since nobody else reads its pipe either.
  assert.equal(await done(pumping), { event: 'closed' });
  close(output);
});

t('a monitor that goes away is lost', async () => {
  const [connection, monitor] = socketpair();
  const [stdout, kept] = pipe();
  const events: unknown[] = [];
  const pumping = pump({ connection, stdout, terminal: false, output: memfd('') }, (event) => events.push(event));
  writeSync(monitor, '{"event":"started","pid":1}\n{"event":"exi');
  close(monitor);
  assert.equal(await pumping, { event: 'lost' });
  assert.equal(events, [{ event: 'started', pid: 1 }]);
  [kept, connection].forEach(close);
});

t('a failure to start is the last word, too', async () => {
  const [connection, monitor] = socketpair();
  writeSync(monitor, '{"event":"failed","exitCode":127,"code":"PROGRAM_NOT_FOUND","message":"no \\"x\\"","errno":2}\n');
  const end = await pump({ connection, terminal: false });
  assert.equal(end, { event: 'failed', exitCode: 127, code: 'PROGRAM_NOT_FOUND', message: 'no "x"', errno: 2 });
  [connection, monitor].forEach(close);
});

t('events before the last are told before the promise resolves, however close they come', async () => {
  for (let round = 0; round < 50; round += 1) {
    const [connection, monitor] = socketpair();
    writeSync(monitor, `{"event":"started","pid":${round}}\n${EXITED}`);
    const events: unknown[] = [];
    await pump({ connection, terminal: false }, (event) => events.push(event));
    assert.equal(events, [{ event: 'started', pid: round }]);
    await sleep(0);
    assert.is(events.length, 1);
    [connection, monitor].forEach(close);
  }
});

t('without a connection it ends with the outputs', async () => {
  const [from, output] = pipe();
  const { streams, done } = container(['echo', 'alone']);
  const { connection: _, ...rest } = streams;
  assert.equal(await done(pump({ ...rest, input: pipe()[0], output, errorOutput: output })), { event: 'ended' });
  close(output);
  assert.is(await text(from), 'alone\n');
});

/** What reaches the program of what is typed in these pieces, and how the pump ends. */
async function type(pieces: string[], detachKeys?: string): Promise<[string, string]> {
  const [input, feed] = pipe();
  const [stdin, toStdin] = pipe();
  const [connection, monitor] = socketpair();
  const options: PumpOptions = { connection, stdin: toStdin, terminal: true, input };
  if (detachKeys !== undefined) options.detachKeys = Buffer.from(detachKeys);
  const pumping = pump(options);
  let detached = false;
  pumping.then(({ event }) => (detached = event === 'detached')).catch(() => {});
  for (const piece of pieces) {
    if (!detached) writeSync(feed, piece);
    await sleep(5);
  }
  if (!detached) writeSync(monitor, EXITED);
  const { event } = await pumping;
  [input, feed, connection, monitor].forEach(close);
  return [await text(stdin), event];
}

t('the detach keys let go wherever they are cut, and never reach the program', async () => {
  assert.equal(await type(['ls\n\x10\x11']), ['ls\n', 'detached']);
  assert.equal(await type(['a', '\x10', '\x11']), ['a', 'detached']);
  assert.equal(await type(['ab', 'q'], 'q'), ['ab', 'detached']);
});

t('a false beginning of the detach keys reaches the program', async () => {
  assert.equal(await type(['\x10a\x11']), ['\x10a\x11', 'exited']);
  assert.equal(await type(['\x10', '\x10', '\x11']), ['\x10', 'detached']);
  assert.equal(await type(['aaab'], 'aab'), ['a', 'detached']);
  assert.equal(await type(['aba', 'bac'], 'abac'), ['ab', 'detached']);
});

t('no detach keys let go of nothing', async () => {
  assert.equal(await type(['\x10\x11'], ''), ['\x10\x11', 'exited']);
});

t('without a terminal nothing is searched', async () => {
  const [input, feed] = pipe();
  const [from, output] = pipe();
  const { streams, done } = container(['cat']);
  const pumping = pump({ ...streams, input, output, errorOutput: output });
  writeSync(feed, '\x10\x11');
  close(feed);
  await done(pumping);
  [input, output].forEach(close);
  assert.is(await text(from), '\x10\x11');
});

t('descriptors of a failed start are closed all the same', async () => {
  const [stdout, kept] = pipe();
  try {
    await pump({ connection: 9999, stdout, terminal: false });
    assert.unreachable();
  } catch (error) {
    assert.is((error as { errno?: number }).errno, 9);
  }
  assert.not(isOpen(stdout));
  close(kept);
});

t('as many pumps as there are containers', async () => {
  const ends = await Promise.all(
    Array.from({ length: 32 }, async () => {
      const output = memfd('');
      const { streams, done } = container(['echo', 'many']);
      const end = await done(pump({ ...streams, input: openSync('/dev/null', 'r'), output, errorOutput: output }));
      const buffer = Buffer.alloc(10);
      const got = buffer.toString('utf8', 0, readSync(output, buffer, 0, 10, 0));
      close(output);
      return `${end.event} ${got}`;
    }),
  );
  assert.equal(new Set(ends), new Set(['exited many\n']));
});

t.run();
