// For which machine an image is wanted.

import type { Platform } from '../../registry/oci.ts';
import { hostPlatform, parsePlatform } from '../../registry/platform.ts';

/** This machine's where nobody says. */
export function platformOf(platform: string | Platform | undefined): Platform {
  if (platform === undefined) return hostPlatform();
  return typeof platform === 'string' ? parsePlatform(platform) : platform;
}
