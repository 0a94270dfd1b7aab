// The parser's promises, beginning with the traps oclif's own falls into.
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { type Flags, defineCommand } from '../../src/cli/command.ts';
import { UsageError } from '../../src/cli/failure.ts';
import { parseGlobals } from '../../src/cli/globals.ts';
import { argumentsUsage, parse } from '../../src/cli/parse.ts';
import { integer, item, text, yes } from '../../src/cli/values/basic.ts';
import { variable } from '../../src/cli/values/environment.ts';
import { run } from '../../src/commands/run.ts';
import { stop } from '../../src/commands/stop.ts';

const t = suite('cli parse');

const command = defineCommand({
  name: 'try',
  summary: '',
  flags: {
    env: { value: variable, short: 'e', multiple: true, description: '' },
    interactive: { value: yes, short: 'i', description: '' },
    tty: { value: yes, short: 't', description: '' },
    rm: { value: yes, description: '' },
    name: { value: text, short: 'n', description: '' },
    timeout: { value: integer, alias: 'time', description: '' },
    list: { value: item, multiple: true, description: '' },
  },
  arguments: [
    { name: 'IMAGE', required: true },
    { name: 'ARG', multiple: true },
  ],
  flagsEndAtFirstArgument: true,
  examples: [],
  async run() {},
});
const parsed = (...argv: string[]) => parse(command, argv);
const complaint = (...argv: string[]): UsageError => {
  try {
    parsed(...argv);
  } catch (error) {
    assert.instance(error, UsageError);
    return error as UsageError;
  }
  throw new Error(`no complaint about ${argv.join(' ')}`);
};

t('the flags of the program behind the image are the program’s', () => {
  assert.equal(parse(run, ['alpine', 'ls', '-l']).args, ['alpine', 'ls', '-l']);
  const { args, flags } = parse(run, ['alpine', 'env', '-i']);
  assert.equal(args, ['alpine', 'env', '-i']);
  assert.is(flags.interactive, undefined);
  const help = parse(run, ['alpine', 'ls', '--help']);
  assert.is(help.help, false);
  assert.equal(help.args, ['alpine', 'ls', '--help']);
});

t('a flag given more than once does not eat the image’s name', () => {
  const { args, flags } = parse(run, ['-e', 'A=1', '--env', 'B=2', 'alpine', 'sh']);
  assert.equal(flags.env, ['A=1', 'B=2']);
  assert.equal(args, ['alpine', 'sh']);
});

t('the user’s own -- stays with the program', () => {
  assert.equal(parse(run, ['--env=A=1', 'alpine', 'sh', '--', '-x']).args, ['alpine', 'sh', '--', '-x']);
});

t('a -- before the image ends the flags and is dropped', () => {
  assert.equal(parsed('-i', '--', '-t', '-x').args, ['-t', '-x']);
});

t('short flags cluster, and the last of a cluster may take a value', () => {
  const { flags, args } = parsed('-itn', 'web', 'alpine');
  assert.ok(flags.interactive && flags.tty);
  assert.is(flags.name, 'web');
  assert.equal(args, ['alpine']);
  assert.is(parsed('-itnweb', 'alpine').flags.name, 'web');
});

t('every way of writing a value', () => {
  for (const argv of [['-e', 'A=1'], ['-eA=1'], ['-e=A=1'], ['--env', 'A=1'], ['--env=A=1']]) {
    assert.equal(parsed(...argv, 'alpine').flags.env, ['A=1'], argv.join(' '));
  }
});

t('a boolean takes its value only after =, and every word Go takes', () => {
  assert.is(parsed('--rm=false', 'alpine').flags.rm, false);
  assert.is(parsed('--rm=T', 'alpine').flags.rm, true);
  assert.is(parsed('-it=0', 'alpine').flags.tty, false);
  assert.equal(parsed('--rm', 'false').args, ['false']);
  assert.is(
    complaint('--rm=maybe', 'a').message,
    'invalid argument "maybe" for "--rm" flag: strconv.ParseBool: parsing "maybe": invalid syntax',
  );
});

t('the last of a flag’s values counts, unless it is a list', () => {
  const { flags } = parsed('--name', 'a', '--name=b', '--list', 'x,y', '--list', 'z', 'alpine');
  assert.is(flags.name, 'b');
  assert.equal(flags.list, ['x,y', 'z']);
});

t('an empty value is a value', () => {
  assert.is(parsed('--name=', 'alpine').flags.name, '');
  assert.is(parsed('--name', '', 'alpine').flags.name, '');
  assert.equal(parsed('').args, ['']);
});

t('a value may look like a flag', () => {
  assert.is(parsed('--name', '-x', 'alpine').flags.name, '-x');
  assert.is(parsed('--timeout', '-1', 'alpine').flags.timeout, -1);
});

t('a second spelling sets the same flag', () => assert.is(parsed('--time', '3', 'alpine').flags.timeout, 3));

t('a lone dash is an argument', () => assert.equal(parsed('-').args, ['-']));

t('complaints are Docker’s, with exit code 125', () => {
  assert.is(complaint('--foo', 'a').message, 'unknown flag: --foo');
  assert.is(complaint('--foo=1', 'a').message, 'unknown flag: --foo');
  assert.is(complaint('-itx', 'a').message, "unknown shorthand flag: 'x' in -itx");
  assert.is(complaint('--name').message, 'flag needs an argument: --name');
  assert.is(complaint('-ie').message, "flag needs an argument: 'e' in -ie");
  assert.is(complaint('---x').message, 'bad flag syntax: ---x');
  assert.is(complaint('--=x').message, 'bad flag syntax: --=x');
  assert.is(
    complaint('--timeout', 'x', 'a').message,
    'invalid argument "x" for "--timeout" flag: strconv.ParseInt: parsing "x": invalid syntax',
  );
  assert.is(
    complaint('-e', '=x', 'a').message,
    'invalid argument "=x" for "-e, --env" flag: invalid environment variable: =x',
  );
  assert.is(complaint('--foo').exitCode, 125);
  assert.is(complaint('--foo').command, 'try');
});

t('names of Object.prototype are no flags', () => {
  assert.is(complaint('--constructor', 'a').message, 'unknown flag: --constructor');
  assert.is(complaint('--__proto__=1', 'a').message, 'unknown flag: --__proto__');
});

t('too few and too many arguments, in Docker’s words', () => {
  const one = { ...stop, arguments: [{ name: 'X', required: true }] };
  const none = { ...stop, arguments: [] };
  const message = (command: typeof stop, ...argv: string[]) => {
    try {
      parse(command, argv);
    } catch (error) {
      assert.is((error as UsageError).exitCode, 1);
      return (error as Error).message;
    }
    return undefined;
  };
  assert.is(message(stop), "'kapsel stop' requires at least 1 argument");
  assert.is(message(one), "'kapsel stop' requires 1 argument");
  assert.is(message(one, 'a', 'b'), "'kapsel stop' requires 1 argument");
  assert.is(message(none, 'a'), "'kapsel stop' accepts no arguments");
  assert.is(message({ ...stop, arguments: [{ name: 'X' }] }, 'a', 'b'), "'kapsel stop' requires at most 1 argument");
});

t('flags of other verbs may follow the arguments', () => {
  const { flags, args } = parse(stop, ['a', '-t', '3', 'b']);
  assert.is(flags.timeout, 3);
  assert.equal(args, ['a', 'b']);
});

t('help is asked for by --help, and by -h where that means nothing else', () => {
  assert.ok(parse(stop, ['-h']).help);
  assert.ok(parse(stop, ['--help', '--foo']).help);
  assert.is(parse(run, ['-h', 'box', 'alpine']).flags.hostname, 'box');
});

t('the usage line names the arguments as Docker’s does', () => {
  assert.is(argumentsUsage(run), 'IMAGE [COMMAND] [ARG...]');
  assert.is(argumentsUsage(stop), 'CONTAINER [CONTAINER...]');
});

t('global flags stand before the verb and beat the environment', () => {
  const globals = parseGlobals(['--root', '/a', '--run-root=/b', '-D', 'run', '--root', 'x'], {
    KAPSEL_ROOT: '/c',
    KAPSEL_CGROUP_PARENT: '/d',
  });
  assert.is(globals.root, '/a');
  assert.is(globals.runRoot, '/b');
  assert.is(globals.cgroupParent, '/d');
  assert.ok(globals.debug);
  assert.equal(globals.rest, ['run', '--root', 'x']);
  assert.throws(() => parseGlobals(['--rot', '/a'], {}), /unknown flag: --rot/);
});

t('a relative root is absolute from here on', () => {
  assert.is(parseGlobals(['--root', 'here', 'ps'], {}).root, `${process.cwd()}/here`);
});

t('every description is sound: no flag twice, no short twice, lists and booleans as they must be', async () => {
  const { commands } = await import('../../src/cli/verbs.ts');
  for (const { name, flags, arguments: given } of commands) {
    const shorts = Object.values(flags as Flags).flatMap((flag) => flag.short ?? []);
    assert.is(new Set(shorts).size, shorts.length, `${name}: a short flag twice`);
    for (const [flag, { short, value, multiple }] of Object.entries(flags as Flags)) {
      assert.match(flag, /^[a-z][a-z-]*[46]?$/, `${name} --${flag}`);
      assert.ok(short === undefined || /^[a-zA-Z]$/.test(short), `${name} -${short}`);
      assert.not(multiple === true && value.implicit !== undefined, `${name} --${flag}: a list of booleans`);
      assert.is(value.placeholder === '', value.implicit !== undefined, `${name} --${flag}: placeholder`);
    }
    for (const argument of given.slice(0, -1)) assert.not(argument.multiple, `${name}: ${argument.name} is not last`);
  }
});

t.run();
