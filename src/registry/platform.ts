// Which of an index's images fits: os/architecture/variant, as containerd's `platforms` package understands them.

import { InvalidArgumentError } from '../engine/errors.ts';
import type { Descriptor, Platform } from './oci.ts';

const goArchitectures: Record<string, string> = {
  x64: 'amd64',
  ia32: '386',
  ppc64: 'ppc64le',
  mips: 'mips',
  loong64: 'loong64',
};

/** Names that users and old images write for an architecture. */
const aliases: Record<string, Partial<Platform>> = {
  x86_64: { architecture: 'amd64' },
  'x86-64': { architecture: 'amd64' },
  aarch64: { architecture: 'arm64' },
  armhf: { architecture: 'arm', variant: 'v7' },
  armel: { architecture: 'arm', variant: 'v6' },
  i386: { architecture: '386' },
};

/** What an unnamed variant means. */
const impliedVariant: Record<string, string> = { amd64: 'v1', arm64: 'v8', arm: 'v7' };

export function hostPlatform(nodeArchitecture: string = process.arch): Platform {
  return { os: 'linux', architecture: goArchitectures[nodeArchitecture] ?? nodeArchitecture };
}

/** `os/architecture[/variant]`, or an architecture alone, as Docker's --platform takes it. */
export function parsePlatform(text: string): Platform {
  const parts = text.toLowerCase().split('/');
  if (parts.length === 1) parts.unshift('linux');
  const [os, architecture, variant] = parts;
  const wellFormed = parts.length <= 3 && parts.every((part) => /^[a-z0-9_.-]+$/.test(part));
  if (!wellFormed || os === undefined || architecture === undefined || architecture === 'linux') {
    throw new InvalidArgumentError(
      'PLATFORM_INVALID',
      `invalid platform ${JSON.stringify(text)}: write os/architecture[/variant], for example linux/arm64`,
      { exitCode: 1 },
    );
  }
  return normalise({ os, architecture, variant });
}

export function formatPlatform({ os, architecture, variant }: Platform): string {
  return [os, architecture, variant].filter(Boolean).join('/');
}

/** How well `offered` runs where `wanted` was asked for: 0 is exact, more is older, undefined is not at all. */
export function distance(wanted: Platform, offered: Platform): number | undefined {
  const want = normalise(wanted);
  const offer = normalise(offered);
  if (want.os !== offer.os || want.architecture !== offer.architecture) return undefined;
  const newest = want.variant ?? impliedVariant[want.architecture];
  const variant = offer.variant ?? impliedVariant[offer.architecture];
  if (newest === variant) return 0;
  const steps = version(newest) - version(variant);
  // A variant without a number (or an architecture without a ladder) fits only itself.
  return steps > 0 ? steps : undefined;
}

/** The entry of an index that fits best; the earlier of two equals. `unknown/unknown` (attestations) never fits. */
export function choosePlatform(entries: readonly Descriptor[], wanted: Platform): Descriptor | undefined {
  let best: Descriptor | undefined;
  let shortest = Infinity;
  for (const entry of entries) {
    // An index may leave the platform of a sole image out.
    const away = entry.platform ? distance(wanted, entry.platform) : entries.length === 1 ? 0 : undefined;
    if (away === undefined || away >= shortest) continue;
    best = entry;
    shortest = away;
  }
  return best;
}

function normalise({ os, architecture, variant }: Platform): Platform {
  const alias = Object.hasOwn(aliases, architecture) ? aliases[architecture] : undefined;
  return { os, architecture: alias?.architecture ?? architecture, variant: variant || alias?.variant };
}

function version(variant: string | undefined): number {
  return variant && /^v\d+$/.test(variant) ? Number(variant.slice(1)) : NaN;
}
