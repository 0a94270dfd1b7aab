// A kernel without a feature: each system call that a container needs is made to fail as if the kernel did not know it.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { run, scratch, testEngine, type Census, type TestEngine } from '../harness/engine.ts';

const cli = new URL('../../dist/kapsel.js', import.meta.url).pathname;
const launcher = join(scratch, 'without.py');
const t = suite('a kernel without a feature');
let engine: TestEngine;
let before: Census;

/** Starts a program under a filter that answers ENOSYS to one system call. Their numbers are those of every architecture. */
const source = `
import ctypes, os, struct, sys
filter = [(0x20, 0, 0, 0), (0x15, 0, 1, int(sys.argv[1])), (0x06, 0, 0, 0x00050000 | 38), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *instruction) for instruction in filter))
class Program(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('code', ctypes.c_void_p)]
program = Program(len(filter), ctypes.cast(code, ctypes.c_void_p))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
os.execv(sys.argv[2], sys.argv[2:])
`;

const without = (call: number) =>
  run(
    'python3',
    [launcher, String(call), process.execPath, cli, 'run', '--rm', 'host:bash', 'bash', '-c', 'echo fine'],
    {
      env: engine.env,
    },
  );

t.before(async () => {
  engine = await testEngine();
  writeFileSync(launcher, source);
  await engine.engine.images.ensure('host:bash');
  before = await engine.census();
});
t.after(() => engine.close());

const needed = {
  open_tree: 428,
  move_mount: 429,
  fsopen: 430,
  fsconfig: 431,
  fsmount: 432,
  clone3: 435,
  mount_setattr: 442,
};
for (const [name, call] of Object.entries(needed)) {
  t(`without ${name}: one line that names the version, 125, and nothing is left`, async () => {
    const { exitCode, stdout, stderr } = await without(call);
    assert.match(stderr, /^kapsel: [^\n]+: the kernel lacks a system call: Linux 5\.12 or later has them[^\n]*\n$/);
    assert.equal([exitCode, stdout], [125, '']);
    assert.equal(await engine.census(), before);
  });
}

t('pidfd_open is not needed', async () => {
  assert.is((await without(434)).stdout, 'fine\n');
});

t.run();
