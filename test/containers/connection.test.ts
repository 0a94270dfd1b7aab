// The engine's end of a monitor's connection, the other end in the test's hands.

import { writeSync } from 'node:fs';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Connection } from '../../src/engine/containers/connection.ts';
import { close, socketpair } from '../../src/native.ts';

const t = suite('connection');
const ended = { event: 'exited', exitCode: 3, signal: null, oomKilled: false, finishedAt: '2026-01-01T00:00:00Z' };

t('a request to a monitor that has gone away says so, and no more', async () => {
  const [ours, theirs] = socketpair();
  close(theirs);
  const connection = new Connection(ours);
  const code = await connection.request({ request: 'pause' }).then(
    () => 'done',
    (error: { code: string }) => error.code,
  );
  assert.is(code, 'MONITOR_LOST');
});

t('its last words are heard, although a request comes too late', async () => {
  const [ours, theirs] = socketpair();
  writeSync(theirs, `${JSON.stringify(ended)}\n`);
  close(theirs);
  const connection = new Connection(ours);
  const late = connection.request({ request: 'signal', signal: 9 }).catch((error: { code: string }) => error.code);
  assert.is((await connection.exited).exitCode, 3);
  assert.is(await late, 'MONITOR_LOST');
});

t.run();
