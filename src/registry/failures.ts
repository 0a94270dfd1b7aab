// What goes wrong with a registry, as one line that says what, with which image, and how to mend it: Docker's words.
// Nothing of what a registry says is repeated but its own error codes.

import { ImageError, KapselError, NotFoundError, RegistryError } from '../engine/errors.ts';
import type { Standing } from './authorizer.ts';
import type { Descriptor } from './oci.ts';
import type { Answer } from './transport.ts';

export type Deed = 'pull' | 'push' | 'search' | 'login';

export class Failures {
  /** `host[:port]`. */
  readonly registry: string;
  /** As a user writes it: `debian`, `127.0.0.1:5000/a`; the registry itself where no image is meant. */
  readonly name: string;

  constructor(registry: string, name: string) {
    this.registry = registry;
    this.name = name;
  }

  /** An answer that is not what was asked for. `missing` is what a 404 means. */
  refusal(answer: Answer, body: string, deed: Deed, standing: Standing, missing?: string): Error {
    const detail = errorCode(body);
    const { registry, name } = this;
    const { status } = answer;
    if (status === 401 || status === 403) {
      if (standing === 'presented' && status === 401) {
        const message = `${deed} access denied for ${name}: ${registry} refused the stored credentials: log in again`;
        return new RegistryError('REGISTRY_UNAUTHORIZED', message);
      }
      const cure =
        standing !== 'anonymous'
          ? 'the stored credentials do not allow it'
          : `it may not exist, or need a login (no credentials for ${registry} are stored)`;
      const message = `${deed} access denied for ${name}: ${cure}`;
      return deed === 'pull'
        ? new NotFoundError('IMAGE_NOT_FOUND', message)
        : new RegistryError('REGISTRY_DENIED', message);
    }
    if (status === 404 && missing !== undefined) {
      const reason = detail === 'NAME_UNKNOWN' ? 'no such repository' : 'manifest unknown';
      return new NotFoundError('IMAGE_NOT_FOUND', `${missing} not found: ${reason} on ${registry}`);
    }
    return this.protocol(`answers with status ${status}${detail ? ` (${detail})` : ''}`);
  }

  /** `asked`: milliseconds that it wants to be left alone. */
  busy(answer: Answer, asked: number | undefined): Error {
    const wait = asked === undefined ? 'try again later' : `try again in ${Math.ceil(asked / 1000)} s`;
    const { registry, name } = this;
    return answer.status === 429
      ? new RegistryError(
          'REGISTRY_RATE_LIMITED',
          `${registry} limits how often ${name} may be asked for: log in, or ${wait}`,
        )
      : new RegistryError(
          'REGISTRY_UNREACHABLE',
          `${registry} cannot serve ${name} now (status ${answer.status}): ${wait}`,
        );
  }

  wrongSize({ digest, size }: Descriptor, got: string): ImageError {
    return new ImageError(
      'SIZE_MISMATCH',
      `blob ${digest} of ${this.name} is ${got} bytes long where the manifest promises ${size}`,
    );
  }

  protocol(what: string): RegistryError {
    return new RegistryError('REGISTRY_PROTOCOL', `the registry ${this.registry} of ${this.name} ${what}`);
  }

  /** A failure below the protocol as one that names the registry; what has a code of ours stays itself. */
  unreachable(error: unknown, deed: Deed): Error {
    if (error instanceof KapselError) return error;
    return new RegistryError(
      'REGISTRY_UNREACHABLE',
      `cannot ${phrases[deed]} ${this.name}: ${this.registry}: ${reasonOf(error)}`,
      { cause: error },
    );
  }
}

const phrases: Record<Deed, string> = { pull: 'pull', push: 'push', search: 'search', login: 'log in to' };

const insecurely = 'give --tls-verify=false or name it in KAPSEL_INSECURE_REGISTRIES';
const trust = `trust it (ca.crt in certs.d, or NODE_EXTRA_CA_CERTS), ${insecurely}`;
const reasons: Record<string, string> = {
  ECONNREFUSED: 'connection refused: is the registry running?',
  ECONNRESET: 'the connection broke',
  EPIPE: 'the connection broke',
  ENOTFOUND: 'no such host: check the name and the network',
  EAI_AGAIN: 'the name server does not answer: check the network',
  EHOSTUNREACH: 'no route to the host',
  ENETUNREACH: 'the network is unreachable',
  EPROTO: `it does not speak https; if it is meant not to, ${insecurely}`,
  DEPTH_ZERO_SELF_SIGNED_CERT: `its certificate is self-signed: ${trust}`,
  SELF_SIGNED_CERT_IN_CHAIN: `its certificate is of an unknown authority: ${trust}`,
  UNABLE_TO_VERIFY_LEAF_SIGNATURE: `its certificate is of an unknown authority: ${trust}`,
  UNABLE_TO_GET_ISSUER_CERT_LOCALLY: `its certificate is of an unknown authority: ${trust}`,
};

function reasonOf(error: unknown): string {
  const { code = '', message } = error as NodeJS.ErrnoException;
  return (Object.hasOwn(reasons, code) ? reasons[code] : undefined) ?? message.split('\n', 1)[0] ?? code;
}

/** The registry's own code for a failure (distribution-spec, "Error Codes"). */
function errorCode(body: string): string | undefined {
  try {
    const { errors } = JSON.parse(body) as { errors?: { code?: unknown }[] };
    const code = errors?.[0]?.code;
    return typeof code === 'string' && /^[A-Z_]{1,40}$/.test(code) ? code : undefined;
  } catch {
    return undefined;
  }
}
