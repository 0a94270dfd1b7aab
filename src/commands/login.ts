// `kapsel login`: a password for a registry, asked of it first and kept where Docker keeps it.
import { text as textOf } from 'node:stream/consumers';
import { defineCommand } from '../cli/command.ts';
import { interruptible } from '../cli/interrupt.ts';
import { text, yes } from '../cli/values/basic.ts';
import type { Engine } from '../engine/engine.ts';
import { AbortedError, InvalidArgumentError } from '../engine/errors.ts';
import type { Access, Kept } from '../engine/registries.ts';
import { printLine, say } from '../ui/output.ts';
import { prompt } from '../ui/prompt.ts';
import { isTerminal } from '../ui/terminal.ts';
import { accessOf, registryFlags } from './registry-flags.ts';

export const login = defineCommand({
  name: 'login',
  summary: 'Log in to a registry',
  description: 'Docker Hub where no registry is named. The password lies with a credential helper, or in config.json.',
  flags: {
    ...registryFlags,
    password: { value: text, short: 'p', description: 'Password' },
    'password-stdin': { value: yes, description: 'Take the password from stdin' },
    username: { value: text, short: 'u', description: 'Username' },
  },
  arguments: [{ name: 'SERVER' }],
  examples: [{ command: 'login --username me --password-stdin 127.0.0.1:5000', description: 'From a script' }],
  async run({ flags, args: [server = 'docker.io'] }, context) {
    const { password: given, 'password-stdin': fromInput } = flags;
    if (given !== undefined && fromInput) throw misused('--password and --password-stdin are mutually exclusive');
    if (fromInput && flags.username === undefined) throw misused('Must provide --username with --password-stdin');
    if (given !== undefined) say('WARNING! Using --password via the CLI is insecure. Use --password-stdin.');
    const engine = await context.engine();
    const access = accessOf(flags);
    const interrupt = interruptible();
    try {
      const options = { ...access, signal: interrupt.signal };
      if (flags.username === undefined && given === undefined && (await isStillGood(engine, server, options))) return;
      const username = flags.username ?? (await askForName(engine, server, access));
      const password = given ?? (fromInput ? await input() : await askForPassword());
      if (username === '' || password === '') throw misused('username and password are required');
      tell(await engine.registries.login(server, { username, password, ...options }));
    } finally {
      interrupt.release();
    }
    printLine('Login Succeeded');
  },
});

async function isStillGood(engine: Engine, server: string, options: Access): Promise<boolean> {
  if ((await engine.registries.user(server, options)) === undefined) return false;
  say('Authenticating with existing credentials...');
  const isGood = await engine.registries.isLoggedIn(server, options);
  if (isGood) printLine('Login Succeeded');
  else say('Login did not succeed, error: the stored credentials are refused');
  return isGood;
}

/** The password's last line break is the shell's, not the password's. */
async function input(): Promise<string> {
  return (await textOf(process.stdin)).replace(/\r?\n$/, '');
}

async function askForName(engine: Engine, server: string, access: Access): Promise<string> {
  const known = await engine.registries.user(server, access);
  return (await ask(known === undefined ? 'Username: ' : `Username (${known}): `)) || (known ?? '');
}

function askForPassword(): Promise<string> {
  return ask('Password: ', true);
}

async function ask(question: string, secret = false): Promise<string> {
  if (!isTerminal(0)) throw misused('Cannot perform an interactive login from a non TTY device');
  const answer = await prompt(question, { secret });
  if (answer === undefined) throw new AbortedError('the login was given up');
  return secret ? answer : answer.trim();
}

function tell(kept: Kept): void {
  if ('helper' in kept) return;
  say(`WARNING! Your password is stored unencrypted in ${kept.file}.`);
  say('Configure a credential helper (credsStore) there to remove this warning.');
}

function misused(message: string): InvalidArgumentError {
  return new InvalidArgumentError('LOGIN_INVALID', message, { exitCode: 1 });
}
