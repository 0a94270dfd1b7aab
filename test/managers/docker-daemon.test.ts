// A Docker daemon that ends and comes back while containers of kapsel-runtime run, and one that maps their users.

import { chmod } from 'node:fs/promises';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { Docker } from './dockerd.ts';
import { scratch } from '../harness/engine.ts';
import { busyboxArchive } from './images.ts';
import { Machine } from './machine.ts';

const t = suite('docker daemon');
let archive: string;

t.before(async () => {
  archive = await busyboxArchive();
});

t('containers outlive the daemon, which finds them again', async () => {
  const docker = await Docker.make(['--default-runtime', 'kapsel', '--live-restore']);
  try {
    await docker.output('load', '--input', archive);
    await docker.remember();
    await docker.cleanly(async () => {
      await docker.output('run', '--detach', '--name', 'one', 'box:1', 'sleep', '1000');
      const pid = await docker.inspect('one', '.State.Pid');
      await docker.stop();
      assert.match(await docker.machine.output('cat', [`/proc/${pid}/cmdline`]), 'sleep');
      await docker.start();
      assert.is(await docker.inspect('one', '.State.Pid'), pid);
      assert.is(await docker.output('exec', 'one', 'echo', 'again'), 'again');
      await docker.output('pause', 'one');
      await docker.output('unpause', 'one');
      await docker.output('update', '--pids-limit', '10', 'one');
      await docker.output('kill', 'one');
      await docker.until('one', '.State.ExitCode', '137');
    });
  } finally {
    await docker.close();
  }
});

t('without that, the end of the daemon is the end of its containers, and it starts them anew', async () => {
  const docker = await Docker.make(['--default-runtime', 'kapsel', '--shutdown-timeout', '1']);
  try {
    await docker.output('load', '--input', archive);
    await docker.remember();
    await docker.cleanly(async () => {
      await docker.output('run', '--detach', '--name', 'one', '--restart', 'always', 'box:1', 'sleep', '1000');
      await docker.stop();
      assert.equal(await docker.machine.processes(), []);
      await docker.start();
      await docker.until('one', '.State.Running', 'true');
    });
  } finally {
    await docker.close();
  }
});

t("users of the containers are not the machine's", async () => {
  await chmod(scratch, 0o711);
  const machine = await Machine.make();
  // The machine's own /etc: what is written into it ends with it.
  const docker = new Docker(machine, ['--default-runtime', 'kapsel', '--userns-remap', 'mapped']);
  try {
    const accounts = 'mapped:x:990:990::/:/bin/false';
    await machine.output('sh', ['-c', `echo ${accounts} >>/etc/passwd; echo mapped:x:990: >>/etc/group`]);
    await machine.output('sh', ['-c', 'for f in subuid subgid; do echo mapped:300000:65536 >>/etc/$f; done']);
    await docker.start();
    await docker.output('load', '--input', archive);
    await docker.remember();
    await docker.cleanly(async () => {
      await docker.output('run', '--detach', '--name', 'one', 'box:1', 'sleep', '1000');
      const pid = await docker.inspect('one', '.State.Pid');
      assert.match(await machine.output('cat', [`/proc/${pid}/status`]), /^Uid:\s+300000\s/m);
      const map = await docker.output('exec', 'one', 'cat', '/proc/self/uid_map');
      assert.equal(map.trim().split(/\s+/), ['0', '300000', '65536']);
      assert.is(await docker.output('exec', '--user', '1000', 'one', 'id', '-u'), '1000');
      await docker.output('exec', 'one', 'sh', '-c', 'echo mine >/data/mine');
      assert.is(await docker.output('run', '--rm', '--read-only', 'box:1', 'cat', '/data/kept'), 'kept');
      assert.is(
        await docker.output(
          'run',
          '--rm',
          '--userns',
          'host',
          'box:1',
          'busybox',
          'awk',
          '{print $3}',
          '/proc/self/uid_map',
        ),
        '4294967295',
      );
    });
  } finally {
    await docker.close();
  }
});

t.run();
