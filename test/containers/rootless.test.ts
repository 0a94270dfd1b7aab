// An ordinary user’s containers: with one id, and with subordinate ids by newuidmap. Those are given in a mount namespace
// of the test’s own, where /etc/passwd and /etc/subuid are its own.

import { spawnSync } from 'node:child_process';
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';

const t = suite('an ordinary user’s containers');
const isRoot = process.getuid!() === 0;
/** A user that no file of the system knows; the tests’ own where they are not run by root. */
const uid = isRoot ? 54_322 : process.getuid!();
let directory: string;

t.before(() => {
  directory = mkdtempSync(`${tmpdir()}/kapsel-test-rootless-`);
  chmodSync(directory, 0o755);
  writeFileSync(`${directory}/passwd`, `root:x:0:0::/root:/bin/sh\nordinary:x:${uid}:${uid}::/:/bin/sh\n`);
  writeFileSync(`${directory}/subid`, 'ordinary:300000:65536\n');
});

t.after(() => rmSync(directory, { recursive: true, force: true }));

/** Runs lines with `engine`, `image` and `print` at hand as that user; gives what they print, line by line as JSON. */
function asUser(name: string, lines: string, subordinate = false): unknown[] {
  const base = `${directory}/${name}`;
  mkdirSync(base);
  chownSync(base, uid, uid);
  const code = `
    import { Engine } from ${JSON.stringify(new URL('../../src/index.ts', import.meta.url).href)};
    const engine = new Engine({ root: '${base}/root', runRoot: '${base}/run', defaultNetwork: 'none' });
    const image = 'host:bash,cat,id,ls,sleep,stat,touch';
    const print = (value) => console.log(JSON.stringify(value));
    const sh = (script, options) => engine.containers.run(image, { command: ['bash', '-c', script], ...options });
    ${lines}
    await engine.close();`;
  const node = [process.execPath, '--input-type=module-typescript', '-e', code];
  const mounts = `mount --bind ${directory}/passwd /etc/passwd && for f in /etc/subuid /etc/subgid; do mount --bind ${directory}/subid $f || exit 1; done; exec setpriv --reuid ${uid} --regid ${uid} --clear-groups "$@"`;
  const words = subordinate
    ? ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', mounts, 'sh', ...node]
    : node;
  const { status, stdout, stderr } = spawnSync(words[0]!, words.slice(1), {
    ...(isRoot && !subordinate ? { uid, gid: uid } : {}),
    cwd: '/',
    env: { PATH: process.env['PATH']!, HOME: base },
    encoding: 'utf8',
    timeout: 60_000,
  });
  assert.is(status, 0, stderr);
  return stdout
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as unknown);
}

const basics = `
  const first = await sh('id -u; cat /proc/self/uid_map; touch /made && stat -c %u /made');
  print(first.stdout.split(/\\s+/).filter(Boolean));
  print(first.warnings);
  print((await sh('exit 7')).exitCode);
  const named = await sh('echo kept > /data/file; ls /data/passwd', { volumes: ['data:/data'] });
  print([named.exitCode, (await sh('cat /d/file', { volumes: ['data:/d'] })).stdout]);
  const detached = await engine.containers.start(image, { command: ['sleep', '60'] });
  print((await detached.exec({ command: ['id', '-u'] })).stdout);
  await detached.stop({ timeout: 0 });
  print((await detached.inspect()).State.ExitCode);
  await detached.remove();
  print((await engine.containers.list({ all: true })).length);
  const { readdirSync } = await import('node:fs');
  print([readdirSync(engine.root + '/containers'), readdirSync(engine.runRoot + '/containers')]);`;

t('with a single id, root in the container is the user', () => {
  const [seen, warnings, code, volume, exec, stopped, left, directories] = asUser('single', basics);
  assert.equal(seen, ['0', '0', String(uid), '1', '0']);
  assert.match((warnings as string[]).join('\n'), /no cgroups/);
  assert.equal([code, volume, exec, stopped, left], [7, [2, 'kept\n'], '0\n', 137, 0]);
  assert.equal(directories, [[], []]);
});

t('with subordinate ids there are other users in the container', () => {
  const [seen, , code, , exec, stopped, left, directories] = asUser('many', basics, true);
  assert.equal(seen, ['0', '0', String(uid), '1', '1', '300000', '65536', '0']);
  assert.equal([code, exec, stopped, left], [7, '0\n', 137, 0]);
  assert.equal(directories, [[], []]);
  const [other] = asUser(
    'other',
    `print((await sh('id -u; id -g; touch /tmp/x; stat -c %u:%g /tmp/x', { user: '1000:1001' })).stdout);`,
    true,
  );
  assert.is(other, '1000\n1001\n1000:1001\n');
});

t('what needs a cgroup is refused when it is asked for', () => {
  const [refusals] = asUser(
    'limits',
    `
    const refusal = (options) => sh('true', options).then(() => 'none', ({ code, exitCode }) => [code, exitCode]);
    print([await refusal({ memory: '64m' }), await refusal({ cpus: 1 }), await refusal({ userns: '100000:65536' })]);`,
  );
  assert.equal(refusals, [
    ['CGROUP_UNSUPPORTED', 125],
    ['CGROUP_UNSUPPORTED', 125],
    ['USERNS_UNSUPPORTED', 125],
  ]);
});

t('the machine’s namespaces can be shared', () => {
  const [shared] = asUser(
    'shared',
    `
    const { readlinkSync } = await import('node:fs');
    const own = readlinkSync('/proc/self/ns/net');
    const { stdout, stderr } = await sh('cat /proc/self/mountinfo > /dev/null; [ "$(cat /proc/sys/kernel/hostname)" ] && echo ok', { network: 'host', pid: 'host', ipc: 'host', uts: 'host' });
    print([stdout, stderr]);`,
  );
  assert.equal(shared, ['ok\n', '']);
});

t.run();
