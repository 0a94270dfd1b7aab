// `--security-opt`: what may be loosened or tightened, and the seccomp profile's file, read here.
import { readFileSync } from 'node:fs';
import type { SecurityOptions } from '../../engine/containers/options.ts';
import { Failure, messageOf } from '../failure.ts';
import { parseBoolean } from './basic.ts';

/** Docker accepts `name=value` and, of old, `name:value`. */
export function securityOptions(given: readonly string[]): SecurityOptions {
  const options: SecurityOptions = {};
  for (const option of given) {
    const [, name = '', value] = /^([a-z-]+)(?:[=:](.*))?$/s.exec(option) ?? [];
    switch (name) {
      case 'no-new-privileges':
        options.noNewPrivileges = value === undefined || boolean(option, value);
        break;
      case 'seccomp':
        options.seccomp = seccomp(value ?? '');
        break;
      case 'apparmor':
      case 'label':
        // Nothing confines by these yet, so that turning them off is what is so already.
        if (value === 'unconfined' || value === 'disable') break;
        throw new Failure(`--security-opt ${option}: kapsel applies no ${name} profile yet; leave it out`, 125);
      default:
        throw new Failure(
          `invalid --security-opt: ${JSON.stringify(option)}: known are seccomp=PROFILE, no-new-privileges, apparmor=unconfined, label=disable`,
          125,
        );
    }
  }
  return options;
}

function boolean(option: string, value: string): boolean {
  try {
    return parseBoolean(value);
  } catch {
    throw new Failure(`invalid --security-opt: ${JSON.stringify(option)}`, 125);
  }
}

function seccomp(value: string): NonNullable<SecurityOptions['seccomp']> {
  if (value === 'unconfined') return 'unconfined';
  if (value === 'default' || value === 'builtin') return 'default';
  let content: string;
  try {
    content = readFileSync(value, 'utf8');
  } catch (error) {
    throw new Failure(`opening seccomp profile (${value}) failed: ${messageOf(error)}`, 125);
  }
  try {
    const profile: unknown = JSON.parse(content);
    if (typeof profile === 'object' && profile !== null && !Array.isArray(profile)) return profile;
    throw new Error('it is not an object');
  } catch (error) {
    throw new Failure(`seccomp profile (${value}) is not a JSON profile: ${messageOf(error)}`, 125);
  }
}
