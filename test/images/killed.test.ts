// `kill -9` at any moment of what changes the store or leaves it: what is there is whole, the next try works, and nothing
// is left. Fifty times each, and several at a time; `node bench/kills.ts` does it as often as one likes.
// deadline: 600

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { play, Stage } from './kills.ts';

const rounds = 50;
const t = suite('killed');
let stage: Stage;

t.before(async () => {
  stage = await Stage.set();
});
t.after(() => stage.close());

t('every command that changes the store', async () => {
  const played = await Promise.allSettled(['pull', 'push', 'commit', 'prune'].map((name) => play(stage, name, rounds)));
  for (const one of played) {
    if (one.status === 'rejected') throw one.reason;
    // Killed after its end, a command would prove nothing.
    assert.ok(one.value > rounds / 3, `only ${one.value} of ${rounds} kills hit`);
  }
});

t.run();
