// Image references: what a user types, and the registry, repository, tag and digest it means.
// The grammar is distribution/reference's; the defaults (docker.io, library/, latest) are Docker's.

import { InvalidArgumentError } from '../engine/errors.ts';

/** A reference with nothing left to guess. Without a digest there is always a tag. */
export interface Reference {
  /** `host[:port]`; `docker.io` for Docker Hub. */
  registry: string;
  /** The path within the registry: `library/debian`. */
  repository: string;
  tag: string | undefined;
  /** `sha256:HEX`; wins over the tag. */
  digest: string | undefined;
}

const dockerHub = 'docker.io';
const component = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/;
const tagPattern = /^\w[\w.-]{0,127}$/;
const label = /^[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?$/;

export const digestPattern = /^sha256:[0-9a-f]{64}$/;

export function parseReference(text: string): Reference {
  if (text === '') throw invalid(text, 'it is empty');
  let rest = text;
  let digest: string | undefined;
  const at = rest.indexOf('@');
  if (at !== -1) {
    digest = rest.slice(at + 1);
    rest = rest.slice(0, at);
    if (!digestPattern.test(digest)) throw invalid(text, 'a digest is sha256: and 64 lower-case hexadecimal digits');
  }
  let tag: string | undefined;
  const colon = rest.lastIndexOf(':');
  if (colon > rest.lastIndexOf('/')) {
    tag = rest.slice(colon + 1);
    rest = rest.slice(0, colon);
    if (!tagPattern.test(tag)) {
      throw invalid(text, 'a tag is up to 128 letters, digits, "_", "." and "-", and starts with none of the last two');
    }
  }
  const { registry, repository } = split(rest);
  checkRegistry(text, registry);
  checkRepository(text, rest, repository);
  return { registry, repository, tag: tag ?? (digest === undefined ? 'latest' : undefined), digest };
}

/** The shortest form a user would type: `debian:12`, `127.0.0.1:5000/a:b`. */
export function familiar(reference: Reference): string {
  return withTagAndDigest(familiarName(reference), reference);
}

/** `debian`, `user/app`, `127.0.0.1:5000/a`: no tag, no digest. */
export function familiarName({ registry, repository }: Reference): string {
  const short = repository.replace(/^library\/(?=[^/]+$)/, '');
  // `docker.io/a.b/c` without its first part would be another registry's.
  return registry === dockerHub && split(short).registry === dockerHub ? short : `${registry}/${repository}`;
}

/** The form that is stored, with one spelling a meaning: `docker.io/library/debian:12`. */
export function canonical(reference: Reference): string {
  return withTagAndDigest(`${reference.registry}/${reference.repository}`, reference);
}

function withTagAndDigest(name: string, { tag, digest }: Reference): string {
  return name + (tag === undefined ? '' : `:${tag}`) + (digest === undefined ? '' : `@${digest}`);
}

/** The first component is a registry only if it cannot be a path: it has a dot, a port or a capital, or is localhost. */
function split(name: string): { registry: string; repository: string } {
  const slash = name.indexOf('/');
  const first = name.slice(0, Math.max(slash, 0));
  if (slash === -1 || !(/[.:A-Z]/.test(first) || first === 'localhost')) {
    return { registry: dockerHub, repository: name.includes('/') ? name : `library/${name}` };
  }
  const path = name.slice(slash + 1);
  if (first !== dockerHub && first !== 'index.docker.io') return { registry: first, repository: path };
  return { registry: dockerHub, repository: path.includes('/') ? path : `library/${path}` };
}

function checkRegistry(text: string, registry: string): void {
  const match = /^(\[[0-9a-fA-F:]+\]|[^:[\]]+)(?::([0-9]{1,5}))?$/.exec(registry);
  const host = match?.[1] ?? '';
  const valid = host.startsWith('[')
    ? URL.canParse(`http://${host}/`)
    : host.split('.').every((part) => label.test(part));
  if (!valid || Number(match?.[2] ?? 1) > 65535 || match?.[2] === '0') {
    throw invalid(text, `"${registry}" is no registry's host[:port]`);
  }
}

function checkRepository(text: string, name: string, repository: string): void {
  if (/^[0-9a-f]{64}$/.test(name)) throw invalid(text, 'a name cannot be 64 hexadecimal digits, which is an id');
  if (repository.length > 255) throw invalid(text, 'the repository name is longer than 255 characters');
  if (repository.split('/').every((part) => component.test(part))) return;
  if (
    /[A-Z]/.test(repository) &&
    repository
      .toLowerCase()
      .split('/')
      .every((part) => component.test(part))
  ) {
    throw invalid(text, 'the repository name must be lower case');
  }
  throw invalid(text, 'write [registry[:port]/]name[:tag][@digest]');
}

function invalid(text: string, why: string): InvalidArgumentError {
  return new InvalidArgumentError('REFERENCE_INVALID', `invalid reference format: ${JSON.stringify(text)}: ${why}`, {
    exitCode: 1,
  });
}
