// The choice of an image for a platform, as containerd makes it.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import type { Descriptor } from '../../src/registry/oci.ts';
import { choosePlatform, formatPlatform, hostPlatform, parsePlatform } from '../../src/registry/platform.ts';

const t = suite('platforms');

function index(...platforms: string[]): Descriptor[] {
  return platforms.map((text, size) => {
    const [os, architecture, variant] = text.split('/') as [string, string, string?];
    return { mediaType: 'm', digest: 'd', size, platform: { os, architecture, variant } };
  });
}

function chosen(wanted: string, ...offered: string[]): string | undefined {
  const { platform } = choosePlatform(index(...offered), parsePlatform(wanted)) ?? {};
  return platform && formatPlatform(platform);
}

t('the exact one', () => assert.is(chosen('linux/arm64', 'linux/amd64', 'linux/arm64', 'linux/386'), 'linux/arm64'));
t('arm64 without a variant is v8', () => assert.is(chosen('linux/arm64', 'linux/arm64/v8'), 'linux/arm64/v8'));
t('arm falls back to the next older variant', () => {
  assert.is(chosen('linux/arm/v7', 'linux/arm/v5', 'linux/arm/v6'), 'linux/arm/v6');
  assert.is(chosen('linux/arm', 'linux/arm/v7', 'linux/arm/v6'), 'linux/arm/v7');
  assert.is(chosen('linux/arm/v6', 'linux/arm/v7'), undefined);
});
t('amd64 levels fall back and never climb', () => {
  assert.is(chosen('linux/amd64/v3', 'linux/amd64', 'linux/amd64/v2', 'linux/amd64/v4'), 'linux/amd64/v2');
  assert.is(chosen('linux/amd64', 'linux/amd64/v2'), undefined);
  assert.is(chosen('linux/amd64', 'linux/amd64/v1'), 'linux/amd64/v1');
});
t('attestations are no images', () => assert.is(chosen('linux/amd64', 'unknown/unknown'), undefined));
t('another operating system does not fit', () => assert.is(chosen('linux/amd64', 'windows/amd64'), undefined));
t('the first of two equals', () => {
  assert.is(choosePlatform(index('linux/amd64', 'linux/amd64'), { os: 'linux', architecture: 'amd64' })?.size, 0);
});
t('a sole entry needs no platform, one of two does', () => {
  const bare: Descriptor = { mediaType: 'm', digest: 'd', size: 1 };
  assert.is(choosePlatform([bare], hostPlatform()), bare);
  assert.is(choosePlatform([bare, bare], hostPlatform()), undefined);
});
t('other names for an architecture', () => {
  assert.is(chosen('x86_64', 'linux/amd64'), 'linux/amd64');
  assert.is(chosen('linux/aarch64', 'linux/arm64'), 'linux/arm64');
  assert.is(chosen('armhf', 'linux/arm/v7', 'linux/arm/v6'), 'linux/arm/v7');
});
t("Node's names become Go's", () => {
  assert.equal(hostPlatform('x64'), { os: 'linux', architecture: 'amd64' });
  assert.equal(hostPlatform('arm64'), { os: 'linux', architecture: 'arm64' });
});
for (const text of ['', 'linux', 'linux/', 'linux/a/b/c', 'linux/am d64', 'linux/__proto__/\n']) {
  t(`${JSON.stringify(text)} is refused`, () => assert.throws(() => parsePlatform(text), /invalid platform/));
}

t.run();
