// An image that a process has used before is not looked at again, and what has happened to it meanwhile is seen all the same.

import { readdirSync, rmSync } from 'node:fs';

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { testEngine, type TestEngine } from '../harness/engine.ts';

const t = suite('images that are ready');
const image = 'host:echo,true';
let test: TestEngine;

t.before(async () => {
  test = await testEngine();
});

t.after(() => test.close());

const say = async (reference: string) => {
  const { stdout } = await test.engine.containers.run(reference, { command: ['echo', 'here'], rm: true });
  return stdout.toString();
};

t('a layer that somebody deleted by hand is missed', async () => {
  assert.is(await say(image), 'here\n');
  assert.is(await say(image), 'here\n');
  const { id } = test.engine.images.resolve(image)!;
  test.engine.images.tag(image, 'mine');
  assert.is(test.engine.images.resolve('mine')!.id, id);
  for (const name of readdirSync(`${test.root}/layers`)) {
    rmSync(`${test.root}/layers/${name}`, { recursive: true });
  }
  assert.is(test.engine.images.resolve('mine'), null);
  assert.is(await say(image), 'here\n');
  assert.is(test.engine.images.resolve('mine')!.id, id);
});

t('a name that another process gives or takes is understood at once', async () => {
  const { id } = test.engine.images.resolve(image)!;
  await test.output('tag', image, 'moved');
  assert.is(test.engine.images.resolve('moved')!.id, id);
  const other = await test.engine.images.ensure('host:true');
  await test.output('tag', 'host:true', 'moved');
  assert.is(test.engine.images.resolve('moved')!.id, other.id);
  assert.is.not(other.id, id);
  await test.output('rmi', 'moved');
  assert.is(test.engine.images.resolve('moved'), null);
});

t.run();
