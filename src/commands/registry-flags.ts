// The flags of whatever speaks to a registry, as podman and skopeo have them.
import { text, yes } from '../cli/values/basic.ts';

export const registryFlags = {
  authfile: { value: text, description: 'Path of the authentication file; REGISTRY_AUTH_FILE names one as well' },
  'tls-verify': {
    value: yes,
    description:
      'Require HTTPS and a trusted certificate (default true, but for loopback and KAPSEL_INSECURE_REGISTRIES)',
  },
} as const;

/** The same for the engine. */
export function accessOf(flags: { authfile: string | undefined; 'tls-verify': boolean | undefined }): {
  authFile: string | undefined;
  tlsVerify: boolean | undefined;
} {
  return { authFile: flags.authfile, tlsVerify: flags['tls-verify'] };
}
