// Scenes in which a command is killed at random moments: each has an engine of its own, so that several play at a time.
// For killed.test.ts, and for `bench/kills.ts`, which goes on for as long as one likes.

import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { type TestEngine, testEngine } from '../harness/engine.ts';
import { busyboxFacts, busyboxLayers, ociLayout, tree } from '../harness/images.ts';
import { TestRegistry } from '../harness/registry.ts';
import { TestStore } from '../registry/faulty.ts';
import { scratchDirectory } from './store.ts';

const cli = new URL('../../dist/kapsel.js', import.meta.url).pathname;

/** Of a machine that does much at once. */
const patient = { patience: { answer: 60_000, idle: 60_000 } };

/** What all scenes have: an image of five small layers as an OCI layout and in a registry. */
export class Stage {
  readonly scratch: string;
  readonly registry: TestRegistry;
  readonly layout: string;
  /** Its name in the registry. */
  readonly name: string;
  readonly #remove: () => Promise<void>;

  private constructor(scratch: string, registry: TestRegistry, layout: string, remove: () => Promise<void>) {
    this.scratch = scratch;
    this.registry = registry;
    this.layout = layout;
    this.name = `${registry.host}/it:1`;
    this.#remove = remove;
  }

  static async set(): Promise<Stage> {
    const { path, remove } = await scratchDirectory('kills');
    const registry = await TestRegistry.start();
    const fill = async (root: string) => {
      for (let directory = 0; directory < 10; directory++) {
        await mkdir(join(root, `d${directory}`));
        for (let file = 0; file < 10; file++) {
          await writeFile(join(root, `d${directory}`, `f${file}`), Buffer.alloc(20_000, directory * 10 + file));
        }
      }
    };
    const many = await tree(path, 'many', fill);
    // Files of two layers become one.
    const again = await tree(path, 'again', async (root) => {
      await fill(root);
      await writeFile(join(root, 'more'), 'more');
    });
    const layout = join(path, 'layout');
    const layers = [...(await busyboxLayers(path)), many, again];
    await ociLayout(layout, [{ layers, config: busyboxFacts.config, name: 'it' }]);
    await registry.push(`oci:${layout}:it`, 'it:1');
    return new Stage(path, registry, layout, remove);
  }

  async close(): Promise<void> {
    await this.registry.close();
    await this.#remove();
  }
}

/** One round of a command's: what it needs, and what is there once it has come through. */
interface Round {
  args: string[];
  /** The same, in this process. */
  again(): Promise<unknown>;
  finish(): Promise<void>;
}

/** What a scene plays; asked anew for each round. */
type Scene = (test: TestEngine, stage: Stage, number: number) => Promise<Round>;

export const scenes: Record<string, Scene> = {
  pull: async (test, { name }) => ({
    args: ['pull', '-q', name],
    again: () => test.engine.images.pull(name),
    finish: async () => {
      assert.ok(test.engine.images.resolve(name));
      await unload(test);
    },
  }),

  // Each time something that the registry has not got: else there is nothing to send.
  push: async (test, { registry, scratch }, number) => {
    const name = `${registry.host}/pushed/${number}:1`;
    const tar = await tree(scratch, `pushed${number}`, async (root) => {
      for (let file = 0; file < 4; file++) await writeFile(join(root, `f${file}`), randomBytes(50_000));
    });
    const id = await test.engine.images.import(tar, { reference: name });
    await rm(tar);
    return {
      args: ['push', '-q', name],
      again: () => test.engine.images.push(name),
      finish: async () => {
        const store = await TestStore.make(patient);
        try {
          assert.is((await store.images.pull(name)).id, id);
        } finally {
          await store.close();
        }
        await unload(test);
      },
    };
  },

  prune: async (test, stage) => {
    await load(test, stage);
    return {
      args: ['system', 'prune', '-af'],
      again: () => test.engine.system.prune({ allImages: true }),
      finish: async () => {
        assert.equal(test.engine.images.list(), []);
        assert.equal(readdirSync(join(test.root, 'layers')), []);
        await unload(test);
      },
    };
  },

  commit: async (test, stage) => {
    let container = (await test.engine.containers.list({ all: true }))[0]?.id;
    if (container === undefined) {
      await load(test, stage);
      const made = await test.engine.containers.create('it:1', { command: ['sh', '-c', 'echo new > /data/new'] });
      await made.start();
      await made.wait();
      container = made.id;
    }
    return {
      args: ['commit', container, 'made:1'],
      again: async () => (await test.engine.containers.get(container)).commit({ reference: 'made:1' }),
      finish: async () => {
        assert.is((await test.engine.containers.run('made:1', { command: ['cat', '/data/new'] })).stdout, 'new\n');
        await test.engine.images.remove('made:1', { noPrune: true });
      },
    };
  },

  save: async (test, stage) => {
    if (!test.engine.images.resolve('it:1')) await load(test, stage);
    const directory = join(test.directory, 'saved');
    await mkdir(directory, { recursive: true });
    const path = join(directory, 'it.tar');
    return {
      args: ['save', '-q', '-o', path, 'it:1'],
      again: () => test.engine.images.save(['it:1'], path),
      finish: async () => {
        const store = await TestStore.make(patient);
        try {
          assert.is((await store.images.load(path))[0]?.id, test.engine.images.inspect('it:1').Id);
        } finally {
          await store.close();
        }
        await rm(path);
        assert.equal(readdirSync(directory), []);
      },
    };
  },
};

/**
 * Kills the scene's command so many times, at moments that are spread over its whole time; after each, nothing is
 * damaged, the next try works, and nothing half made stays. Resolves to how often it was killed before its end.
 */
export async function play(stage: Stage, name: string, rounds: number): Promise<number> {
  const scene = scenes[name]!;
  const test = await testEngine();
  let hits = 0;
  try {
    const first = await scene(test, stage, 0);
    const { after: whole } = await killed(test, first.args, 120_000);
    await first.finish();
    for (let number = 1; number <= rounds; number++) {
      const after = whole * Math.random();
      try {
        const round = await scene(test, stage, number);
        if ((await killed(test, round.args, after)).hit) hits++;
        await isSound(test);
        await round.again();
        await round.finish();
        await isClean(test);
      } catch (error) {
        throw new Error(`${name}, round ${number}, killed after ${after.toFixed(1)} ms: ${String(error)}`, {
          cause: error,
        });
      }
    }
  } finally {
    await test.close();
  }
  return hits;
}

/** Runs a command and kills it after so many milliseconds, where it has not ended by then. */
async function killed(test: TestEngine, args: string[], after: number): Promise<{ hit: boolean; after: number }> {
  const began = performance.now();
  const child = spawn(process.execPath, [cli, ...args], { env: { ...process.env, ...test.env }, stdio: 'ignore' });
  const ended = once(child, 'exit') as Promise<[number | null]>;
  const patience = new AbortController();
  await Promise.race([ended, sleep(after, undefined, { signal: patience.signal })]);
  patience.abort();
  child.kill('SIGKILL');
  const [code] = await ended;
  if (code !== null) assert.is(code, 0, args.join(' '));
  return { hit: code === null, after: performance.now() - began };
}

async function isSound(test: TestEngine): Promise<void> {
  assert.equal((await test.engine.system.check()).damaged, []);
}

/** What the dead left has gone with what came after. */
async function isClean(test: TestEngine): Promise<void> {
  await test.engine.system.prune({ kinds: ['cache'] });
  for (const name of ['layers', 'tmp', 'partial']) {
    const left = (await listed(join(test.root, name))).filter((entry) => name !== 'layers' || entry.startsWith('.'));
    assert.equal(left, [], name);
  }
}

async function listed(directory: string): Promise<string[]> {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

async function load(test: TestEngine, { layout }: Stage): Promise<void> {
  await test.engine.images.copy(`oci:${layout}:it`, 'it:1');
}

async function unload(test: TestEngine): Promise<void> {
  await test.engine.system.prune({ allImages: true });
  assert.equal(test.engine.images.list(), []);
  for (const name of ['layers', 'blobs/sha256']) assert.equal(await listed(join(test.root, name)), [], name);
}
