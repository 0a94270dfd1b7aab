// `kapsel info`: what this engine has, what this machine gives it, and what it lacks, with what to do about it.
import { defineCommand } from '../cli/command.ts';
import { text } from '../cli/values/basic.ts';
import type { EngineInfo } from '../engine/info.ts';
import { renderFormat } from './listing.ts';
import { print, printLine, say } from '../ui/output.ts';
import { binarySize } from '../ui/units.ts';

/** What `kapsel-runtime info` prints (crates/runtime/src/info.rs). */
export interface MachineFacts {
  version: string;
  kernel: string;
  architecture: string;
  cgroups: { version: 'v1' | 'v2' | 'hybrid' | null; controllers: string[] };
  overlay: boolean;
  seccomp: boolean;
  apparmor: boolean;
  selinux: boolean;
  userNamespaces: { supported: boolean; forbiddenBy: string | null };
  rootless: { uid: number; subUids: object[]; subGids: object[]; idMapHelpers: boolean } | null;
}

export const info = defineCommand({
  name: 'info',
  summary: 'Display system-wide information',
  flags: { format: { value: text, short: 'f', description: "Format output: 'json' or a Go template" } },
  arguments: [],
  examples: [{ command: "info -f '{{.CgroupVersion}}'", description: 'One fact' }],
  async run({ flags }, context) {
    const engine = await context.engine();
    const found = await engine.info();
    const machine = found.runtime as unknown as MachineFacts;
    const facts = { ...describe(found, machine), Warnings: warnings(machine) };
    if (flags.format === 'json') printLine(JSON.stringify(facts));
    else if (flags.format !== undefined) print(`${renderFormat(flags.format, facts)}\n`);
    else {
      print(page(facts));
      for (const warning of facts.Warnings) say(`WARNING: ${warning}`);
    }
  },
});

/** Docker's names where it has them. */
function describe(found: EngineInfo, machine: MachineFacts) {
  const { containers, version } = found;
  return {
    ServerVersion: version.kapsel,
    Containers: containers.all,
    ContainersRunning: containers.running,
    ContainersPaused: containers.paused,
    ContainersStopped: containers.stopped,
    Images: found.images,
    Driver: 'overlay2',
    LoggingDriver: 'json-file',
    CgroupVersion: machine.cgroups.version ?? 'none',
    CgroupControllers: machine.cgroups.controllers,
    CgroupParent: found.cgroupParent,
    SecurityOptions: [
      ...(machine.seccomp ? ['seccomp'] : []),
      ...(machine.userNamespaces.supported ? ['userns'] : []),
      ...(found.rootless ? ['rootless'] : []),
    ],
    RuntimeVersion: machine.version,
    NodeVersion: version.node,
    KernelVersion: version.kernel,
    Architecture: machine.architecture,
    NCPU: found.cpus,
    MemTotal: found.memory,
    KapselRootDir: found.root,
    KapselRunDir: found.runRoot,
  };
}

type Facts = ReturnType<typeof describe>;

function page(facts: Facts): string {
  const lines: [string, string | number][] = [
    ['Version', facts.ServerVersion],
    ['Containers', facts.Containers],
    [' Running', facts.ContainersRunning],
    [' Paused', facts.ContainersPaused],
    [' Stopped', facts.ContainersStopped],
    ['Images', facts.Images],
    ['Storage Driver', facts.Driver],
    ['Logging Driver', facts.LoggingDriver],
    ['Cgroup Version', facts.CgroupVersion],
    ['Cgroup Controllers', facts.CgroupControllers.join(' ')],
    ['Cgroup Parent', facts.CgroupParent],
    ['Security Options', facts.SecurityOptions.join(' ')],
    ['Runtime Version', facts.RuntimeVersion],
    ['Node Version', facts.NodeVersion],
    ['Kernel Version', facts.KernelVersion],
    ['Architecture', facts.Architecture],
    ['CPUs', facts.NCPU],
    ['Total Memory', binarySize(facts.MemTotal)],
    ['Root Dir', facts.KapselRootDir],
    ['Run Dir', facts.KapselRunDir],
  ];
  return lines.map(([name, value]) => `${name}: ${value}\n`).join('');
}

/** What this machine or user lacks, each with its remedy. */
export function warnings({ cgroups, overlay, seccomp, userNamespaces, rootless }: MachineFacts): string[] {
  const found: string[] = [];
  if (!overlay) found.push('No overlay file system: containers cannot start: run `modprobe overlay` as root');
  if (!seccomp) {
    found.push('No seccomp support: system calls are not filtered: use a kernel with CONFIG_SECCOMP_FILTER');
  }
  if (cgroups.version === null) {
    found.push(
      'No cgroups: nothing limits a container: mount them, for example with `mount -t cgroup2 none /sys/fs/cgroup`',
    );
  } else {
    const limits = {
      memory: '--memory',
      cpu: '--cpus and --cpu-shares',
      cpuset: '--cpuset-cpus',
      pids: '--pids-limit',
    };
    for (const [controller, flags] of Object.entries(limits)) {
      if (cgroups.controllers.includes(controller)) continue;
      found.push(`No ${controller} controller: ${flags} cannot be enforced: enable it on the kernel's command line`);
    }
  }
  if (!userNamespaces.supported) {
    found.push('No user namespaces: --userns and ordinary users cannot be served: use a kernel with CONFIG_USER_NS');
  } else if (userNamespaces.forbiddenBy !== null) {
    found.push(
      `Ordinary users may not make user namespaces: run \`sysctl -w ${userNamespaces.forbiddenBy}\` as root to let them`,
    );
  }
  if (rootless) found.push(...rootlessWarnings(rootless, cgroups.version));
  return found;
}

function rootlessWarnings(
  { uid, subUids, subGids, idMapHelpers }: NonNullable<MachineFacts['rootless']>,
  cgroupVersion: MachineFacts['cgroups']['version'],
): string[] {
  const found: string[] = [];
  if (!idMapHelpers) {
    found.push('No newuidmap and newgidmap: containers have one user id only: install the package uidmap');
  }
  if (subUids.length === 0 || subGids.length === 0) {
    found.push(
      `User ${uid} has no subordinate ids: containers have one user id only: run \`usermod --add-subuids 100000-165535 --add-subgids 100000-165535 NAME\` as root`,
    );
  }
  if (cgroupVersion !== 'v2') {
    found.push('Limits of ordinary users need cgroup v2: boot with systemd.unified_cgroup_hierarchy=1');
  }
  return found;
}
