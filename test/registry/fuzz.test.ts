// What strangers write, made up at random: references, auth headers, manifests, configs, links. Whatever it is, it is understood
// as it was meant, or refused in one line; a seed that fails is named. KAPSEL_FUZZ=N makes N of each instead of the usual budget.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { KapselError } from '../../src/engine/errors.ts';
import { parseChallenges } from '../../src/registry/challenge.ts';
import { imageManifest, layerLimit, parseConfig, parseManifest } from '../../src/registry/manifest.ts';
import { mediaTypes } from '../../src/registry/oci.ts';
import { nextLink } from '../../src/registry/pages.ts';
import { canonical, digestPattern, familiar, parseReference } from '../../src/registry/reference.ts';

const budget = Number(process.env.KAPSEL_FUZZ ?? 3000);
const t = suite('made up at random');

/** mulberry32: the same seed, the same numbers. */
class Dice {
  #state: number;

  constructor(seed: number) {
    this.#state = seed;
  }

  /** 0 to n - 1. */
  roll(n: number): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let x = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    x = (x + Math.imul(x ^ (x >>> 7), 61 | x)) ^ x;
    return ((x ^ (x >>> 14)) >>> 0) % n;
  }

  one<T>(of: readonly T[]): T {
    return of[this.roll(of.length)]!;
  }

  text(alphabet: string, least: number, most: number): string {
    let text = '';
    for (let length = least + this.roll(most - least + 1); length > 0; length--)
      text += alphabet[this.roll(alphabet.length)];
    return text;
  }
}

function each(name: string, work: (dice: Dice) => void): void {
  t(name, () => {
    for (let seed = 0; seed < budget; seed++) {
      try {
        work(new Dice(seed));
      } catch (error) {
        (error as Error).message = `seed ${seed}: ${(error as Error).message}`;
        throw error;
      }
    }
  });
}

/** The result, or undefined where it is refused as it should be. */
function tried<T>(work: () => T, code: string): T | undefined {
  try {
    return work();
  } catch (error) {
    assert.instance(error, KapselError, (error as Error).stack);
    assert.is((error as KapselError).code, code);
    assert.not.match((error as Error).message, /\p{Cc}/u);
    return undefined;
  }
}

const hex = '0123456789abcdef';
const lower = 'abcdefghijklmnopqrstuvwxyz0123456789';
const digest = (dice: Dice): string => `sha256:${dice.text(hex, 64, 64)}`;

function component(dice: Dice): string {
  const parts = Array.from({ length: 1 + dice.roll(3) }, () => dice.text(lower, 1, 6));
  return parts.reduce((left, right) => left + dice.one(['.', '_', '__', '-', '---']) + right);
}

function reference(dice: Dice): string {
  const host = dice.one([
    '',
    '',
    'r.example/',
    'docker.io/',
    'localhost:5000/',
    '127.0.0.1:1/',
    '[::1]:65535/',
    'Host/',
  ]);
  // Without a host, a first component with a dot would be one.
  const path = Array.from({ length: host === '' ? 1 : 1 + dice.roll(3) }, () => component(dice)).join('/');
  const tag = dice.roll(2) ? `:${dice.text(`${lower}ABC_`, 1, 1)}${dice.text(`${lower}._-`, 0, 20)}` : '';
  return host + path + tag + (dice.roll(3) ? '' : `@${digest(dice)}`);
}

each('a reference means the same in every spelling', (dice) => {
  const text = reference(dice);
  const parsed = tried(() => parseReference(text), 'REFERENCE_INVALID');
  if (!parsed) return assert.match(text, /^[0-9a-f]{64}/);
  assert.equal(parseReference(canonical(parsed)), parsed);
  assert.equal(parseReference(familiar(parsed)), parsed);
});

/** Bytes of it removed, doubled, or replaced by what grammars stumble over. */
function mangled(dice: Dice, text: string): string {
  let result = text;
  for (let times = 1 + dice.roll(4); times > 0; times--) {
    const at = dice.roll(result.length + 1);
    const instead = dice.one([
      '',
      '/',
      ':',
      '@',
      '.',
      '-',
      '_',
      '"',
      '\\',
      ',',
      '=',
      ' ',
      '\n',
      '\0',
      '[',
      ']',
      'A',
      'é',
      '\ud800',
      '%',
    ]);
    const removed = dice.roll(3);
    result = result.slice(0, at) + instead + (dice.roll(5) ? '' : result.slice(0, at)) + result.slice(at + removed);
  }
  return result;
}

each('a mangled reference is refused or has one meaning', (dice) => {
  const parsed = tried(() => parseReference(mangled(dice, reference(dice))), 'REFERENCE_INVALID');
  if (!parsed) return;
  assert.match(parsed.repository, /^[a-z0-9][a-z0-9._/-]*$/);
  assert.match(parsed.registry, /^(\[[0-9a-f:]+\]|[\w.-]+)(:\d+)?$/i);
  assert.ok(parsed.tag !== undefined || digestPattern.test(parsed.digest!));
  assert.not(parsed.repository.split('/').some((part) => part === '' || part === '.' || part === '..'));
  assert.equal(parseReference(canonical(parsed)), parsed);
});

const tokens = "abcXYZ019!#$%&'*+.^_`|~-";
const printable = Array.from({ length: 95 }, (_, index) => String.fromCharCode(32 + index)).join('');

each('challenges are understood as they were meant', (dice) => {
  const meant = Array.from({ length: 1 + dice.roll(3) }, () => {
    const names = new Set(Array.from({ length: 1 + dice.roll(4) }, () => dice.text('abcdefgh_', 1, 8)));
    const parameters = [...names].map((name): [string, string] => [name, dice.text(printable, 0, 20)]);
    return { scheme: dice.text('abcdefgh', 1, 8), parameters };
  });
  const space = (): string => dice.text(' \t', 0, 2);
  const quoted = (value: string): string => `"${value.replace(/["\\]/g, '\\$&')}"`;
  const written = meant.map(({ scheme, parameters }) => {
    const list = parameters.map(([name, value]) => {
      const isToken = value !== '' && [...value].every((letter) => tokens.includes(letter));
      const shown = dice.roll(2) ? name.toUpperCase() : name;
      return `${shown}${space()}=${space()}${isToken && dice.roll(2) ? value : quoted(value)}`;
    });
    return `${dice.roll(2) ? scheme.toUpperCase() : scheme} ${list.join(`${space()},${space()}`)}`;
  });
  const parsed = parseChallenges(written.join(dice.one([', ', ',', ' ,, '])));
  assert.equal(
    parsed.map(({ scheme, parameters }) => ({ scheme, parameters: Object.entries(parameters) })),
    meant,
  );
});

each('a mangled challenge ends the parsing, not the program', (dice) => {
  const header = mangled(
    dice,
    'Bearer realm="https://auth.example/token",service="r",scope="repository:a/b:pull", Basic realm="x"',
  );
  for (const { scheme, parameters } of parseChallenges(header)) {
    assert.is(scheme, scheme.toLowerCase());
    assert.ok([...scheme].every((letter) => `${tokens}${lower}`.includes(letter)));
    assert.is(Object.getPrototypeOf(parameters), null);
  }
  parseChallenges(dice.text(`${printable}\t\n"\\,=`, 0, 200));
});

const layerTypes = ['application/vnd.oci.image.layer.v1.tar+gzip', 'application/vnd.docker.image.rootfs.diff.tar.gzip'];

function descriptor(dice: Dice, mediaType: string): Record<string, unknown> {
  return { mediaType, digest: digest(dice), size: dice.roll(1 << 30) };
}

function manifest(dice: Dice): Record<string, unknown> {
  const layers = Array.from({ length: dice.roll(5) }, () => descriptor(dice, dice.one(layerTypes)));
  const config = descriptor(dice, mediaTypes.ociConfig);
  return { schemaVersion: 2, mediaType: mediaTypes.ociManifest, config, layers };
}

function index(dice: Dice): Record<string, unknown> {
  const manifests = Array.from({ length: dice.roll(4) }, () => ({
    ...descriptor(dice, mediaTypes.ociManifest),
    platform: { os: 'linux', architecture: dice.one(['amd64', 'arm64', 'arm']) },
  }));
  return { schemaVersion: 2, mediaType: mediaTypes.ociIndex, manifests };
}

function config(dice: Dice): Record<string, unknown> {
  const ids = Array.from({ length: dice.roll(4) }, () => digest(dice));
  const process = {
    Env: ['A=b'],
    Cmd: ['sh'],
    User: '',
    WorkingDir: '/',
    Labels: { a: 'b' },
    ExposedPorts: { '1/tcp': {} },
  };
  return { architecture: 'amd64', os: 'linux', config: process, rootfs: { type: 'layers', diff_ids: ids } };
}

const strange: unknown[] = [
  null,
  true,
  -1,
  0.5,
  1e300,
  '',
  'x',
  '\0',
  '\u001b[2J',
  [],
  {},
  [null],
  [[]],
  ['a\0'],
  { a: 1 },
  '__proto__',
];

/** One place of a document with something else in it, or nothing, or a key more. */
function tampered(dice: Dice, document: Record<string, unknown>): Record<string, unknown> {
  const copy = structuredClone(document);
  for (let times = 1 + dice.roll(3); times > 0; times--) {
    let at: any = copy;
    for (;;) {
      const keys = Object.keys(at);
      const key =
        keys.length === 0 || dice.roll(8) === 0
          ? dice.one(['layers', 'manifests', 'config', 'urls', '__proto__'])
          : dice.one(keys);
      if (typeof at[key] === 'object' && at[key] !== null && Object.hasOwn(at, key) && dice.roll(3)) {
        at = at[key];
        continue;
      }
      if (dice.roll(4) === 0) delete at[key];
      else
        Object.defineProperty(at, key, {
          value: structuredClone(dice.one(strange)),
          enumerable: true,
          configurable: true,
          writable: true,
        });
      break;
    }
  }
  return copy;
}

const bytes = (document: unknown): Buffer => Buffer.from(JSON.stringify(document));

each('manifests and indexes are what they say', (dice) => {
  const document = dice.roll(2) ? manifest(dice) : index(dice);
  const parsed = parseManifest(bytes(document), document.mediaType as string, 'it');
  // By way of JSON: what is undefined is not there.
  if (parsed.kind === 'index') assert.equal(JSON.parse(JSON.stringify(parsed.index.manifests)), document.manifests);
  else assert.equal([parsed.manifest.config, ...parsed.manifest.layers], [document.config, ...(document.layers as [])]);
});

each('a tampered manifest is refused or fit to be used', (dice) => {
  const document = tampered(dice, dice.roll(2) ? manifest(dice) : index(dice));
  const declared = dice.one([undefined, mediaTypes.ociManifest, mediaTypes.ociIndex]);
  const parsed = tried(() => parseManifest(bytes(document), declared, 'it'), 'MANIFEST_INVALID');
  if (!parsed) return;
  const all = parsed.kind === 'index' ? parsed.index.manifests : [parsed.manifest.config, ...parsed.manifest.layers];
  for (const one of all) {
    assert.match(one.digest, digestPattern);
    assert.ok(Number.isSafeInteger(one.size) && one.size >= 0);
    assert.type(one.mediaType, 'string');
    assert.ok(one.platform === undefined || typeof one.platform.os === 'string');
    for (const url of one.urls ?? []) assert.type(url, 'string');
  }
  const image = tried(() => imageManifest(parsed, 'it'), 'MANIFEST_INVALID');
  if (image) assert.ok(image.manifest.layers.length <= layerLimit);
});

each('a tampered config is refused or fit to be used', (dice) => {
  const document = tampered(dice, config(dice));
  const layers = dice.roll(4);
  const parsed = tried(() => parseConfig(bytes(document), layers, 'it'), 'MANIFEST_INVALID');
  if (!parsed) return;
  assert.is(parsed.rootfs.diff_ids.length, layers);
  for (const id of parsed.rootfs.diff_ids) assert.match(id, digestPattern);
  const { Env, Cmd, Entrypoint, User, WorkingDir, Labels } = parsed.config ?? {};
  for (const list of [Env, Cmd, Entrypoint]) {
    assert.ok(list === undefined || list.every((text) => typeof text === 'string' && !text.includes('\0')));
  }
  for (const text of [User, WorkingDir]) assert.ok(text === undefined || typeof text === 'string');
  assert.ok(Labels === undefined || Object.values(Labels).every((text) => typeof text === 'string'));
});

each('mangled JSON is refused or a document', (dice) => {
  const text = mangled(dice, JSON.stringify(dice.roll(2) ? manifest(dice) : index(dice)));
  tried(() => parseManifest(Buffer.from(text), undefined, 'it'), 'MANIFEST_INVALID');
  tried(() => parseConfig(Buffer.from(mangled(dice, JSON.stringify(config(dice)))), 1, 'it'), 'MANIFEST_INVALID');
});

each('a Link header has a next page or none', (dice) => {
  const target = `/v2/_catalog?n=${dice.roll(100)}&last=${component(dice)}`;
  const others = Array.from(
    { length: dice.roll(3) },
    () => `</${component(dice)}>; rel="${dice.one(['prev', 'last', 'nextly'])}"`,
  );
  const at = dice.roll(others.length + 1);
  const next = `<${target}>${dice.text(' ', 0, 2)};${dice.text(' ', 0, 2)}${dice.one(['rel=next', 'rel="next"', 'REL="next"', 'title="a"; rel=next'])}`;
  assert.is(nextLink([...others.slice(0, at), next, ...others.slice(at)].join(', ')), target);
  assert.is(nextLink(others.join(', ')), undefined);
  nextLink(mangled(dice, next));
});

t.run();
