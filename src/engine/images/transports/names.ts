// `docker://debian:12`, `oci:PATH[:TAG]`, …: which transport is meant, and what of it. The words are containers/image's.

import { InvalidArgumentError } from '../../errors.ts';
import { hostPrefix } from '../host-memory.ts';

export type Place =
  /** A registry. */
  | { transport: 'docker'; reference: string }
  /** Files: a path and what is in it by that name, or at that place in the list (`@0`). */
  | { transport: 'oci' | 'oci-archive' | 'docker-archive' | 'dir'; path: string; reference: string | undefined }
  /** The store, `host:` included. */
  | { transport: 'kapsel'; reference: string };

const withPath = ['oci', 'oci-archive', 'docker-archive', 'dir'] as const;

export function parsePlace(text: string): Place {
  if (text.startsWith(hostPrefix)) return { transport: 'kapsel', reference: text };
  if (text.startsWith('docker://')) return { transport: 'docker', reference: text.slice('docker://'.length) };
  if (text.startsWith('kapsel:')) return { transport: 'kapsel', reference: text.slice('kapsel:'.length) };
  for (const transport of withPath) {
    if (!text.startsWith(`${transport}:`)) continue;
    const rest = text.slice(transport.length + 1);
    // A directory's name may hold colons where nothing follows it.
    const colon = transport === 'dir' ? -1 : rest.indexOf(':');
    const path = colon < 0 ? rest : rest.slice(0, colon);
    if (path === '') throw invalid(text, `write ${transport}:PATH${transport === 'dir' ? '' : '[:NAME]'}`);
    return { transport, path, reference: (colon < 0 ? '' : rest.slice(colon + 1)) || undefined };
  }
  const [, transport] = /^([a-z][a-z-]*):\/\//.exec(text) ?? [];
  if (transport !== undefined || /^(containers-storage|docker-daemon|ostree|sif|tarball|docker):/.test(text)) {
    throw invalid(text, 'known are docker://, oci:, oci-archive:, docker-archive:, dir:, host: and kapsel:');
  }
  return { transport: 'kapsel', reference: text };
}

function invalid(text: string, why: string): InvalidArgumentError {
  return new InvalidArgumentError('TRANSPORT_INVALID', `invalid image name ${JSON.stringify(text)}: ${why}`, {
    exitCode: 1,
  });
}
