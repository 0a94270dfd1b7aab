// A long-lived program that uses the SDK: for each byte on stdin it runs /bin/true in a container and answers with a byte.

import { readSync, writeSync } from 'node:fs';

// The bundle, as an installed package has it; it is built, so the compiler looks at the source instead.
const bundle = new URL('../dist/index.js', import.meta.url).href;
const { Engine } = (await import(bundle)) as typeof import('../src/index.ts');

const engine = new Engine({
  root: process.env.KAPSEL_ROOT as string,
  runRoot: process.env.KAPSEL_RUN_ROOT as string,
  cgroupParent: process.env.KAPSEL_CGROUP_PARENT as string,
  defaultNetwork: 'none',
});
const byte = Buffer.alloc(1);
const run = () => engine.containers.run(process.argv[2] as string, { command: ['/bin/true'], rm: true });
await run();
writeSync(1, '\n');
while (readSync(0, byte) === 1) {
  const { exitCode } = await run();
  if (exitCode !== 0) process.exit(1);
  writeSync(1, '\n');
}
await engine.close();
