// `kapsel manifest …`: lists of the images that one name means on different machines. Docker's verbs, and podman's `add`.
import { defineCommand, type Flags } from '../cli/command.ts';
import { item, text, yes } from '../cli/values/basic.ts';
import { printLine } from '../ui/output.ts';
import { pulling } from './pulling.ts';
import { accessOf, registryFlags } from './registry-flags.ts';

const platformFlags = {
  arch: { value: text, description: 'Set architecture' },
  os: { value: text, description: 'Set operating system' },
  'os-features': { value: item, multiple: true, description: 'Set operating system feature' },
  'os-version': { value: text, description: 'Set operating system version' },
  variant: { value: text, description: 'Set architecture variant' },
} satisfies Flags;

interface PlatformFlags {
  arch: string | undefined;
  os: string | undefined;
  'os-features': string[];
  'os-version': string | undefined;
  variant: string | undefined;
}

function annotations(flags: PlatformFlags) {
  const { arch: architecture, os, variant, 'os-features': osFeatures, 'os-version': osVersion } = flags;
  return { architecture, os, variant, osFeatures, osVersion };
}

export const manifestCreate = defineCommand({
  name: 'manifest create',
  summary: 'Create a local manifest list for annotating and pushing to a registry',
  flags: { ...registryFlags, amend: { value: yes, short: 'a', description: 'Amend an existing manifest list' } },
  arguments: [
    { name: 'MANIFEST_LIST', required: true },
    { name: 'MANIFEST', multiple: true },
  ],
  examples: [{ command: 'manifest create reg/app:1 reg/app:amd64 reg/app:arm64', description: 'Then push it' }],
  async run({ flags, args: [list = '', ...images] }, context) {
    const lists = await (await context.engine()).images.manifests(accessOf(flags));
    const name = await pulling(`Creating ${list}`, true, ({ signal }) =>
      lists.create(list, images, flags.amend ?? false, signal),
    );
    printLine(`Created manifest list ${name}`);
  },
});

export const manifestAdd = defineCommand({
  name: 'manifest add',
  summary: 'Add an image to a manifest list',
  flags: {
    ...registryFlags,
    ...platformFlags,
    all: { value: yes, description: 'Add all of the list if the image is a list' },
  },
  arguments: [
    { name: 'MANIFEST_LIST', required: true },
    { name: 'MANIFEST', required: true },
  ],
  examples: [{ command: 'manifest add reg/app:1 reg/app:riscv64', description: 'One more machine' }],
  async run({ flags, args: [list = '', image = ''] }, context) {
    const lists = await (await context.engine()).images.manifests(accessOf(flags));
    const name = await pulling(`Adding ${image}`, true, ({ signal }) =>
      lists.add(list, image, { ...annotations(flags), all: flags.all, signal }),
    );
    printLine(name);
  },
});

export const manifestAnnotate = defineCommand({
  name: 'manifest annotate',
  summary: 'Add additional information to a local image manifest',
  flags: platformFlags,
  arguments: [
    { name: 'MANIFEST_LIST', required: true },
    { name: 'MANIFEST', required: true },
  ],
  examples: [
    { command: 'manifest annotate reg/app:1 reg/app:arm --variant v6', description: 'What its config left out' },
  ],
  async run({ flags, args: [list = '', image = ''] }, context) {
    const lists = await (await context.engine()).images.manifests();
    await lists.annotate(list, image, annotations(flags));
  },
});

export const manifestInspect = defineCommand({
  name: 'manifest inspect',
  summary: 'Display an image manifest, or manifest list',
  flags: {
    ...registryFlags,
    verbose: { value: yes, short: 'v', description: 'Output additional info including layers and platform' },
  },
  arguments: [{ name: 'MANIFEST', required: true }],
  examples: [{ command: 'manifest inspect debian:12', description: 'As the registry has it' }],
  async run({ flags, args: [name = ''] }, context) {
    const lists = await (await context.engine()).images.manifests(accessOf(flags));
    await pulling(`Asking for ${name}`, true, async ({ signal }) => {
      if (!flags.verbose) {
        const { bytes } = await lists.inspect(name, signal);
        printLine(JSON.stringify(JSON.parse(bytes.toString('utf8')), null, '\t'));
        return;
      }
      const details = await lists.details(name, signal);
      printLine(JSON.stringify(details.length === 1 ? details[0] : details, null, '\t'));
    });
  },
});

export const manifestPush = defineCommand({
  name: 'manifest push',
  summary: 'Push a manifest list to a repository',
  flags: {
    ...registryFlags,
    purge: { value: yes, short: 'p', description: 'Remove the local manifest list after push' },
  },
  arguments: [{ name: 'MANIFEST_LIST', required: true }],
  examples: [{ command: 'manifest push -p reg/app:1', description: 'Images of other repositories go with it' }],
  async run({ flags, args: [list = ''] }, context) {
    const lists = await (await context.engine()).images.manifests(accessOf(flags));
    const digest = await pulling(`Pushing ${list}`, true, ({ signal }) =>
      lists.push(list, { purge: flags.purge ?? false, signal }),
    );
    printLine(digest);
  },
});

export const manifestRemove = defineCommand({
  name: 'manifest rm',
  summary: 'Delete one or more manifest lists from local storage',
  flags: {},
  arguments: [{ name: 'MANIFEST_LIST', required: true, multiple: true }],
  examples: [{ command: 'manifest rm reg/app:1', description: 'The registry keeps what was pushed' }],
  async run({ args }, context) {
    const lists = await (await context.engine()).images.manifests();
    for (const list of args) lists.remove(list);
  },
});
