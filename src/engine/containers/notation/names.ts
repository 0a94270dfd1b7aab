// Names that users or this engine give: containers, hosts, devices. Text in, text or an error out.

import { posix } from 'node:path';

import { InvalidArgumentError } from '../../errors.ts';
import { randomBelow } from '../../random.ts';
import type { Device } from '../options.ts';

const adjectives =
  'agile amber ample azure blithe bold brave breezy bright brisk calm candid civil clear clever cosmic crisp daring deft eager earnest elated fair fleet fluent frank gentle glad golden grand happy hardy honest humble jolly keen kind lively loyal lucid mellow merry mighty modest neat nimble noble patient placid plucky polite proud quick quiet ready serene sharp silent sleek smooth snug solid spry stable steady sunny swift tender tidy trusty upbeat vivid warm wise witty zesty'.split(
    ' ',
  );
const surnames =
  'abel ampere babbage bell bohr boole borg bose brahe brown carson cauchy church clarke codd cori curie darwin dijkstra dirac einstein euclid euler faraday fermat fermi feynman fourier franklin galileo galois gauss germain goldberg hamilton hawking hertz hilbert hodgkin hopper huygens hypatia joule kepler kilby knuth kovalevskaya lamarr lamport leavitt leibniz liskov lovelace maxwell meitner mendel mirzakhani neumann newton nobel noether pascal pasteur perlman planck ramanujan ride ritchie rubin shannon sinoussi snyder tesla thompson torvalds turing volta wilson wing wozniak yalow'.split(
    ' ',
  );

/** `adjective_surname`; with a number where the plain ones were taken. */
export function generatedName(attempt: number): string {
  const name = `${adjectives[randomBelow(adjectives.length)]}_${surnames[randomBelow(surnames.length)]}`;
  return attempt === 0 ? name : `${name}${randomBelow(10 ** Math.min(attempt, 8))}`;
}

export function containerName(given: string): string {
  const name = given.replace(/^\//, '');
  if (/^[a-zA-Z0-9][a-zA-Z0-9_.-]+$/.test(name) && name.length <= 255) return name;
  throw new InvalidArgumentError(
    'NAME_INVALID',
    `Invalid container name (${given}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, at least two of them`,
  );
}

/** RFC 1123: labels of letters, digits and hyphens, 63 bytes a label; the kernel takes 64 in all. */
export function hostName(given: string): string {
  if (given.length <= 64 && /^[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,62})(\.[a-zA-Z0-9_]([a-zA-Z0-9_-]{0,62}))*$/.test(given))
    return given;
  throw new InvalidArgumentError(
    'HOSTNAME_INVALID',
    `invalid hostname '${given}': letters, digits, hyphens and dots, at most 64`,
  );
}

/** `SOURCE[:TARGET][:PERMISSIONS]` */
export function device(given: string | Device): Required<Device> {
  let source: string;
  let target: string | undefined;
  let permissions: string | undefined;
  if (typeof given === 'string') {
    const [first = '', ...rest] = given.split(':');
    source = first;
    if (rest.length > 2) throw invalidDevice(given);
    if (rest.length === 1 && isPermissions(rest[0]!)) permissions = rest[0];
    else [target, permissions] = rest;
  } else {
    ({ source, target, permissions } = given);
  }
  target ??= source;
  permissions ??= 'rwm';
  if (!source.startsWith('/') || !target.startsWith('/') || !isPermissions(permissions)) throw invalidDevice(given);
  return { source: posix.normalize(source), target: posix.normalize(target), permissions };
}

function isPermissions(text: string): boolean {
  return /^[rwm]{1,3}$/.test(text) && new Set(text).size === text.length;
}

function invalidDevice(given: string | Device): InvalidArgumentError {
  return new InvalidArgumentError(
    'DEVICE_INVALID',
    `bad device specification: ${typeof given === 'string' ? given : JSON.stringify(given)}: give SOURCE[:TARGET][:rwm], absolute paths`,
  );
}
