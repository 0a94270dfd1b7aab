// Values of flags: what is accepted, and the words for what is not.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parse } from '../../src/cli/parse.ts';
import { parseBoolean, parseInteger } from '../../src/cli/values/basic.ts';
import { detachKeys } from '../../src/cli/values/detach-keys.ts';
import { environment, label, labels, variable } from '../../src/cli/values/environment.ts';
import { filter, filters } from '../../src/cli/values/filter.ts';
import { pair } from '../../src/cli/values/pair.ts';
import { securityOptions } from '../../src/cli/values/security.ts';
import { parseDuration, timestamp } from '../../src/cli/values/time.ts';
import { stdio } from '../../src/commands/attachment.ts';
import { createOptions } from '../../src/commands/container-flags.ts';
import { run } from '../../src/commands/run.ts';

const t = suite<{ directory: string }>('cli values');

t.before.each((context) => {
  context.directory = mkdtempSync(join(tmpdir(), 'kapsel-test-values-'));
});
t.after.each(({ directory }) => rmSync(directory, { recursive: true, force: true }));

const file = (directory: string, content: string | Uint8Array): string => {
  const path = join(directory, 'file');
  writeFileSync(path, content);
  return path;
};
const options = (...argv: string[]) => {
  const { flags, args } = parse(run, [...argv, 'image', 'program']);
  return createOptions(flags, args.slice(1));
};

t('numbers and booleans are Go’s', () => {
  assert.is(parseInteger('0x10'), 16);
  assert.is(parseInteger('-7'), -7);
  assert.throws(() => parseInteger('1.5'), /strconv.ParseInt: parsing "1.5": invalid syntax/);
  assert.throws(() => parseInteger(''), /invalid syntax/);
  assert.throws(() => parseInteger('99999999999999999999'), /value out of range/);
  assert.is(parseBoolean('TRUE'), true);
  assert.throws(() => parseBoolean('yes'), /strconv.ParseBool: parsing "yes": invalid syntax/);
});

t('a bare variable takes kapsel’s own value, or takes the image’s away', () => {
  process.env['KAPSEL_TEST_OWN'] = 'mine';
  assert.is(variable.parse('KAPSEL_TEST_OWN'), 'KAPSEL_TEST_OWN=mine');
  delete process.env['KAPSEL_TEST_OWN'];
  assert.is(variable.parse('KAPSEL_TEST_OWN'), 'KAPSEL_TEST_OWN');
  assert.is(variable.parse('A=b=c'), 'A=b=c');
  assert.throws(() => variable.parse('=x'), /invalid environment variable: =x/);
});

t('an env file: comments, bare names, values kept whole; flags come after', ({ directory }) => {
  process.env['KAPSEL_TEST_PASSED'] = 'on';
  const path = file(directory, '# comment\n\n  A=1 2 \r\nKAPSEL_TEST_PASSED\nKAPSEL_TEST_ABSENT\nB="q"\n');
  assert.equal(environment([path], ['A=9']), ['A=1 2 ', 'KAPSEL_TEST_PASSED=on', 'B="q"', 'A=9']);
  delete process.env['KAPSEL_TEST_PASSED'];
});

t('a bad env file is named, with its line', ({ directory }) => {
  assert.throws(() => environment(['/nowhere/at/all'], []), /^open \/nowhere\/at\/all: no such file or directory$/);
  assert.throws(() => environment([directory], []), /is a directory/);
  const spaces = file(directory, 'A B=1\n');
  assert.throws(() => environment([spaces], []), `invalid env file (${spaces}): variable 'A B' contains whitespaces`);
  assert.throws(() => environment([file(directory, '=1\n')], []), /no variable name on line '=1'/);
  assert.throws(() => environment([file(directory, Uint8Array.of(65, 61, 0xff))], []), /invalid utf8/);
});

t('labels come from files and flags, the flags last', ({ directory }) => {
  assert.equal(labels([file(directory, 'a=1\nb=2\n')], [label.parse('b=3'), label.parse('c')]), {
    a: '1',
    b: '3',
    c: '',
  });
  assert.throws(() => label.parse('=x'), /invalid label '=x': empty name/);
});

t('durations and points in time', () => {
  assert.is(parseDuration('1h30m'), 5_400_000);
  assert.is(parseDuration('1.5s'), 1500);
  assert.is(parseDuration('-2m'), -120_000);
  assert.throws(() => parseDuration('5x'), /time: invalid duration "5x"/);
  assert.is(timestamp.parse('2024-05-01T10:00:00.123456789Z'), '2024-05-01T10:00:00.123456789Z');
  assert.is(timestamp.parse('2024-05-01T10:00:00+02:00'), '2024-05-01T08:00:00.000000000Z');
  assert.is(timestamp.parse('1136073600.000000001'), '2006-01-01T00:00:00.000000001Z');
  const minuteAgo = Date.parse(timestamp.parse('1m'));
  assert.ok(Math.abs(Date.now() - 60_000 - minuteAgo) < 5000);
  assert.throws(() => timestamp.parse('foo'), /failed to parse value as time or duration: "foo"/);
});

t('filters have a name and a value, and the name must be known', () => {
  assert.equal(filter.parse('Label=a=b'), ['label', 'a=b']);
  assert.throws(() => filter.parse('foo'), /bad format of filter \(expected name=value\)/);
  assert.equal(
    filters(
      [
        ['status', 'exited'],
        ['status', 'created'],
      ],
      ['status'],
    ),
    { status: ['exited', 'created'] },
  );
  assert.throws(() => filters([['foo', 'bar']], ['status']), /invalid filter 'foo'/);
});

t('detach keys are characters and control characters', () => {
  assert.equal([...detachKeys.parse('ctrl-p,ctrl-q')], [16, 17]);
  assert.equal([...detachKeys.parse('a,ctrl-[')], [97, 27]);
  assert.equal([...detachKeys.parse('')], []);
  assert.throws(() => detachKeys.parse('ctrl-p,foo'), /Unknown character: 'foo'/);
});

t('pairs need a name', () => {
  assert.equal(pair('sysctl').parse('net.ipv4.ip_forward=1'), ['net.ipv4.ip_forward', '1']);
  assert.throws(() => pair('sysctl').parse('foo'), /invalid sysctl 'foo': give NAME=VALUE/);
});

t('security options, the profile’s file included', ({ directory }) => {
  assert.equal(securityOptions(['no-new-privileges', 'seccomp=unconfined']), {
    noNewPrivileges: true,
    seccomp: 'unconfined',
  });
  assert.equal(securityOptions(['no-new-privileges:false']), { noNewPrivileges: false });
  const path = file(directory, '{"defaultAction":"SCMP_ACT_ALLOW"}');
  assert.equal(securityOptions([`seccomp=${path}`]), { seccomp: { defaultAction: 'SCMP_ACT_ALLOW' } });
  assert.throws(() => securityOptions(['seccomp=/nope']), /opening seccomp profile \(\/nope\) failed/);
  assert.throws(() => securityOptions([`seccomp=${file(directory, '[]')}`]), /is not a JSON profile/);
  assert.throws(() => securityOptions(['foo=bar']), /invalid --security-opt: "foo=bar"/);
  assert.throws(() => securityOptions(['apparmor=mine']), /applies no apparmor profile yet/);
});

t('what was not given is left to the engine', () => {
  assert.equal(options(), { command: ['program'] });
});

t('flags become the engine’s options', () => {
  assert.equal(
    options(
      '-it',
      '--rm',
      '-m',
      '512m',
      '--cpus=1.5',
      '-v',
      '/a:/b:ro',
      '-l',
      'a=b',
      '--sysctl',
      'net.x=1',
      '-u',
      '1:2',
      '--cap-drop=ALL',
      '--init',
    ),
    {
      command: ['program'],
      interactive: true,
      tty: true,
      rm: true,
      memory: '512m',
      cpus: '1.5',
      volumes: ['/a:/b:ro'],
      labels: { a: 'b' },
      sysctls: { 'net.x': '1' },
      user: '1:2',
      capDrop: ['ALL'],
      init: true,
    },
  );
});

t('an empty entrypoint resets the image’s', () => assert.is(options('--entrypoint', '').entrypoint, ''));

t('a relative volume is relative to where the user stands', () => {
  assert.equal(options('-v', './x:/y').volumes, [`${process.cwd()}/x:/y`]);
  assert.equal(options('-v', '.:/y:ro').volumes, [`${process.cwd()}:/y:ro`]);
  assert.equal(options('-v', 'name:/y').volumes, ['name:/y']);
});

t('what does not exist yet is refused with a way out', () => {
  assert.throws(() => options('--pid', 'foo'), /--pid: invalid PID mode/);
  assert.throws(() => options('--log-driver', 'syslog'), /no such logging driver/);
});

t('which streams a program gets', () => {
  assert.equal(stdio({}), { stdout: 1, stderr: 2 });
  assert.equal(stdio({ interactive: true }), { stdin: 0, stdout: 1, stderr: 2 });
  assert.equal(stdio({ attach: ['STDERR'] }), { stderr: 2 });
  assert.equal(stdio({ tty: true }), { stdout: 1 });
  assert.equal(stdio({ interactive: true }, true), {});
  assert.throws(() => stdio({ attach: ['foo'] }), /valid streams are STDIN, STDOUT and STDERR/);
});

t.run();
