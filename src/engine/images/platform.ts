// For which machine an image is wanted.

import type { Platform } from '../../registry/oci.ts';
import { distance, formatPlatform, hostPlatform, parsePlatform } from '../../registry/platform.ts';
import { NotFoundError } from '../errors.ts';

/** This machine's where nobody says. */
export function platformOf(platform: string | Platform | undefined): Platform {
  if (platform === undefined) return hostPlatform();
  return typeof platform === 'string' ? parsePlatform(platform) : platform;
}

/** An index has been chosen from already; a single image may still be for another machine than was asked for. */
export function checkPlatform(offered: Platform, asked: string | Platform | undefined, name: string): void {
  if (asked === undefined) return;
  const wanted = platformOf(asked);
  if (distance(wanted, offered) === undefined) throw otherPlatform(offered, formatPlatform(wanted), name);
}

export function otherPlatform(offered: Platform, wanted: string, name: string): NotFoundError {
  const message = `image with reference ${name} was found but its platform (${formatPlatform(offered)}) does not match ${wanted}`;
  return new NotFoundError('PLATFORM_NOT_FOUND', message);
}
