// One boot of the virtual machine. Its first serial port is the kernel's console, its second what `inside/run.ts` reports.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import type { Root } from './root.ts';

/** What came of one program. */
export interface Result {
  name: string;
  passed: number;
  failed: number;
  skipped: number;
  seconds: number;
  /** Lines that it began with `# `: measurements. */
  notes: string[];
  /** What it printed, where something failed. */
  output: string;
}

export interface Boot {
  root: Root;
  /** The disk of `programs.ts`. */
  disk: string;
  /** The cgroup hierarchies. */
  layout: 'unified' | 'legacy';
  /** The plan's name. */
  plan: string;
  processors: number;
  /** Seconds until it counts as hung. */
  deadline: number;
  report(result: Result): void;
}

const usual = [
  'console=ttyS0',
  'root=/dev/nvme0n1',
  'rootfstype=ext4',
  'rw',
  'apparmor=1',
  'security=apparmor',
  // A panic ends the machine: it restarts, which -no-reboot makes an end.
  'panic=-1',
  'quiet',
  // The emulated timers are slow to read, and the emulated processors' counters are one.
  'clocksource=tsc',
  'tsc=reliable',
  // Emulation has no speculation to be protected from.
  'mitigations=off',
  // Copies in loops rather than by one repeated instruction (REP_GOOD; ERMS is off below), which is emulated byte by byte.
  'clearcpuid=112',
];

/** The first process becomes the second disk's. */
const start = 'mount -t devtmpfs dev /dev && mount -o ro /dev/nvme0n2 /kapsel && exec /kapsel/init';

/** Boots and waits for the end. Answers with what went wrong with the machine itself, nothing where all is well. */
export async function boot({
  root,
  disk,
  layout,
  plan,
  processors,
  deadline,
  report,
}: Boot): Promise<string | undefined> {
  const drive = (id: string, file: string) => `if=none,id=${id},file=${file},format=raw,snapshot=on,cache=unsafe`;
  const options = [
    // One thread for all processors: with one for each (QEMU 7.2), two machines of four stood still, both spinning.
    [
      '-machine',
      'q35',
      '-cpu',
      'max,la57=off,erms=off',
      '-accel',
      'tcg,thread=single',
      '-smp',
      String(processors),
      '-m',
      '2048',
    ],
    ['-nodefaults', '-no-reboot', '-display', 'none', '-kernel', root.kernel],
    ['-append', `${usual.join(' ')} init=/bin/sh -- -c "${start} ${layout} /kapsel/${plan}.json"`],
    // Debian's cloud kernel has NVMe built in: no initramfs is needed.
    ['-device', 'nvme,serial=kapsel', '-drive', drive('root', root.image), '-device', 'nvme-ns,drive=root,nsid=1'],
    ['-drive', drive('disk', disk), '-device', 'nvme-ns,drive=disk,nsid=2'],
    ['-chardev', 'stdio,id=console,signal=off', '-serial', 'chardev:console'],
    ['-chardev', 'socket,id=report,fd=3,server=off', '-serial', 'chardev:report'],
  ];
  const child = spawn(
    'qemu-system-x86_64',
    options.flat(),

    { stdio: ['ignore', 'pipe', 'pipe', 'pipe'] },
  );
  let console = '';
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => (console += chunk.toString('latin1')));
  let ended = false;
  let fault: string | undefined;
  const lines = createInterface({ input: child.stdio[3] as NodeJS.ReadableStream });
  const end = (why: string) => {
    fault = why;
    child.kill('SIGKILL');
  };
  lines.on('line', (line) => {
    if (line === 'end') ended = true;
    else if (line.startsWith('{')) report(JSON.parse(line) as Result);
    else end(`the machine reported ${JSON.stringify(line)}`);
  });
  const timer = setTimeout(() => end(`the machine did not end within ${deadline} s`), deadline * 1000);
  await once(child, 'close');
  clearTimeout(timer);
  if (!ended) fault ??= 'the machine ended before its tests';
  return fault && `${fault}; its console:\n${console.split('\n').slice(-60).join('\n')}`;
}
