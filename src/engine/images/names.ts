// What users call images: how a reference is stored, what can only be an id, what a new name may be.

import { canonical, parseReference, type Reference } from '../../registry/reference.ts';
import { InvalidArgumentError } from '../errors.ts';
import { hostPrefix } from './host-memory.ts';

/** The name under which a reference is stored; undefined where it can only be an id. */
export function storedName(reference: string): string | undefined {
  if (reference.startsWith(hostPrefix)) return reference;
  if (/^(sha256:)?[0-9a-f]{64}$/.test(reference) || reference.startsWith('sha256:')) return undefined;
  const parsed = parseReference(reference);
  // With a digest, the tag says nothing more.
  return canonical(parsed.digest === undefined ? parsed : { ...parsed, tag: undefined });
}

/** A repository alone: no tag, no digest, no id. */
export function isBare(reference: string): boolean {
  return !isId(reference) && !reference.includes('@') && !/:[^/]*$/.test(reference);
}

/** An id or the beginning of one. */
export function isId(reference: string): boolean {
  return /^(sha256:)?[0-9a-f]{1,64}$/.test(reference);
}

/** A name that can be given: no digest, which only content has, and not one that is made of this machine's programs. */
export function taggable(reference: string): Reference {
  const refused = (why: string) =>
    new InvalidArgumentError('REFERENCE_INVALID', `cannot name an image ${reference}: ${why}`, { exitCode: 1 });
  if (reference.startsWith(hostPrefix)) throw refused("host: is the name of this machine's own programs");
  const parsed = parseReference(reference);
  if (parsed.digest !== undefined) throw refused('a name for a new image has no digest');
  return parsed;
}
