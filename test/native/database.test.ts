// The database from TypeScript: rows as objects, failures as classes, every method once. What it promises under fire
// (crowds, kill -9, full disks) is tested in crates/state.

import { mkdirSync, mkdtempSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import * as errors from '../../src/engine/errors.ts';
import { close, Database, lockExclusive, now, type NewContainer } from '../../src/native.ts';

const t = suite('database');
const scratch = mkdtempSync(join(process.env.KAPSEL_TEST_SCRATCH ?? tmpdir(), 'database-'));
const IMAGE = `sha256:${'a'.repeat(64)}`;
const ID = 'c'.repeat(64);
const RFC3339 = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{9}Z$/;

let count = 0;
/** A database with one image of one layer. */
function database(): { database: Database; root: string } {
  count += 1;
  const root = join(scratch, String(count));
  mkdirSync(root);
  const made = new Database(join(root, 'kapsel.db'));
  made.insertLayer({ diffId: 'sha256:l1', size: 10, unpackedSize: 2 ** 40 });
  made.insertImage(
    {
      id: IMAGE,
      manifestDigest: null,
      config: { os: 'linux', config: { Cmd: ['sh'] } },
      diffIds: ['sha256:l1'],
      size: 2 ** 40,
      createdAt: '2026-01-01T00:00:00Z',
      platform: 'linux/amd64',
      references: ['docker.io/library/busybox:latest'],
    },
    'load',
  );
  return { database: made, root };
}

const container: NewContainer = {
  id: ID,
  name: 'web',
  status: 'starting',
  imageId: IMAGE,
  image: 'busybox',
  autoRemove: false,
  labels: { 'org.example.team': 'rød' },
  document: { args: ['echo', '“quoted”\u0000\n'], deep: { list: [1, 2.5, null, true] } },
};

const fails = (act: () => unknown, family: abstract new (...args: never[]) => Error, code: string) => {
  try {
    act();
  } catch (error) {
    assert.instance(error, family);
    assert.is((error as errors.KapselError).code, code);
    return error as errors.KapselError;
  }
  return assert.unreachable(code) as never;
};

t('a container goes in and comes out as it was, with what has become of it', () => {
  const { database: db } = database();
  db.insertContainer(container);
  const { status, createdAt, ...row } = db.container('web');
  assert.is(status, 'starting');
  assert.match(createdAt, RFC3339);
  const { status: _, ...expected } = container;
  const nothingYet = { startedAt: null, finishedAt: null, pid: null, exitCode: null, oomKilled: false, error: null };
  assert.equal(row, { ...expected, layers: ['sha256:l1'], ...nothingYet });
  assert.ok(db.started(ID, 4_194_304, now()));
  assert.is(db.container(ID).pid, 4_194_304);
  db.paused(ID);
  assert.is(db.container('ccc').status, 'paused');
  db.unpaused(ID);
  assert.ok(db.exited(ID, { exitCode: 1, error: 'why', oomKilled: true, signal: null }));
  assert.not(db.exited(ID, { exitCode: 2 }));
  assert.equal([db.container(ID).exitCode, db.container(ID).error], [1, 'why']);
  db.rename(ID, 'site');
  db.updateDocument(ID, { v: 2 });
  assert.equal(db.container('site').document, { v: 2 });
  db.starting(ID);
  assert.equal(
    db.containers({ status: ['starting'] }).map(({ id }) => id),
    [ID],
  );
  assert.equal(db.containers({ status: ['running', 'exited'] }), []);
  db.exited(ID, { exitCode: 0 });
  assert.equal(db.removeContainer(ID), []);
  assert.equal(db.containers(), []);
});

t('failures are classes with a code, and their messages name the culprit', () => {
  const { database: db } = database();
  db.insertContainer(container);
  assert.is(
    fails(() => db.container('x'), errors.NotFoundError, 'CONTAINER_NOT_FOUND').message,
    'No such container: x',
  );
  db.insertContainer({ ...container, id: `c${'0'.repeat(63)}`, name: 'db' });
  fails(() => db.container('c'), errors.InvalidArgumentError, 'CONTAINER_AMBIGUOUS');
  const taken = fails(() => db.insertContainer({ ...container, id: 'd' }), errors.ConflictError, 'NAME_IN_USE');
  assert.match(taken.message, 'cccccccccccc');
  assert.match(taken.hint!, 'rename');
  fails(() => db.removeContainer(ID), errors.ConflictError, 'CONTAINER_CONFLICT');
  fails(() => db.paused(ID), errors.ConflictError, 'CONTAINER_CONFLICT');
  fails(() => db.removeImage(IMAGE, true), errors.ConflictError, 'IMAGE_IN_USE');
  fails(() => db.image('none'), errors.NotFoundError, 'IMAGE_NOT_FOUND');
  fails(() => db.volume('none'), errors.NotFoundError, 'VOLUME_NOT_FOUND');
  fails(() => db.untag('none'), errors.NotFoundError, 'IMAGE_NOT_FOUND');
  fails(() => new Database(join(scratch, 'none/kapsel.db')), errors.StorageError, 'DATABASE_UNREADABLE');
  fails(() => db.insertContainer({} as NewContainer), errors.InvalidArgumentError, 'ARGUMENT_INVALID');
  db.close();
  fails(() => db.containers(), errors.InvalidArgumentError, 'ARGUMENT_INVALID');
});

t('images, references, layers', () => {
  const { database: db } = database();
  const image = db.image('docker.io/library/busybox:latest');
  assert.equal([image.id, image.config], [IMAGE, { os: 'linux', config: { Cmd: ['sh'] } }]);
  assert.is(image.size, 2 ** 40);
  db.tag('other', IMAGE);
  assert.equal(db.image('aaaa').references, ['docker.io/library/busybox:latest', 'other']);
  db.untag('other');
  assert.equal(
    db.images().map(({ references }) => references),
    [['docker.io/library/busybox:latest']],
  );
  assert.equal(db.layer('sha256:l1'), { diffId: 'sha256:l1', size: 10, unpackedSize: 2 ** 40 });
  assert.is(db.layer('sha256:none'), undefined);
  assert.is(db.layers().length, 1);
  assert.equal(db.removeImage(IMAGE), ['sha256:l1']);
  assert.equal(db.layers(), []);
});

t('volumes', () => {
  const { database: db } = database();
  assert.ok(db.insertVolume({ name: 'data', labels: { a: 'b' } }));
  assert.not(db.insertVolume({ name: 'data', labels: {} }));
  const { createdAt, ...volume } = db.volume('data');
  assert.match(createdAt, RFC3339);
  assert.equal(volume, { name: 'data', labels: { a: 'b' } });
  db.removeVolume('data');
  assert.equal(db.volumes(), []);
});

t('events, in order and in part', () => {
  const { database: db } = database();
  const begun = now();
  db.insertContainer(container);
  db.appendEvent({ kind: 'container', action: 'kill', id: ID, attributes: { signal: '15' } });
  const events = db.events();
  assert.equal(
    events.map(({ kind, action }) => `${kind} ${action}`),
    ['image load', 'container create', 'container kill'],
  );
  assert.equal(events[2]!.attributes, { signal: '15' });
  assert.equal(events[1]!.attributes, { 'org.example.team': 'rød', name: 'web', image: 'busybox' });
  assert.equal(db.events({ after: events[1]!.seq }).length, 1);
  assert.equal(db.events({ since: begun }).length, 2);
  assert.equal(db.events({ until: begun, limit: 5 }).length, 1);
});

t('reconciliation tells the dead from the living', () => {
  const { database: db, root } = database();
  const lock = lockExclusive(join(root, 'containers', ID, 'lock'));
  db.insertContainer({ ...container, autoRemove: true });
  db.started(ID, 1, now());
  assert.equal(db.reconcile(root), { died: [], remove: [], strays: [] });
  close(lock);
  const { died, remove, strays } = db.reconcile(root);
  assert.equal([died[0]!.id, died[0]!.exitCode, died[0]!.status], [ID, 137, 'exited']);
  assert.equal([remove.map(({ id }) => id), strays], [[ID], []]);
});

t('two connections of one process see each other’s changes', () => {
  const { database: one, root } = database();
  const other = new Database(join(root, 'kapsel.db'));
  one.insertContainer(container);
  assert.is(other.container('web').id, ID);
  other.started(ID, 1, now());
  assert.is(one.container('web').status, 'running');
});

t.run();
