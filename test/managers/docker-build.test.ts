// Docker's classic builder with kapsel-runtime under it, and a Debian from a tar.
// Making the Debian takes a minute the first time.
// deadline: 300

import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { scratch } from '../harness/engine.ts';
import { debianTar } from '../harness/images.ts';
import { Docker } from './dockerd.ts';
import { busyboxArchive } from './images.ts';

const t = suite('docker build');
let docker: Docker;

t.before(async () => {
  docker = await Docker.make(['--default-runtime', 'kapsel']);
  await docker.output('load', '--input', await busyboxArchive());
  await docker.output('import', '--change', 'CMD bash', await debianTar(), 'debian:12');
  await docker.remember();
});

t.after(() => docker.close());

/** A context directory with that Dockerfile, and its build with the classic builder. */
async function build(name: string, dockerfile: string[], ...flags: string[]) {
  const context = join(scratch, name);
  await mkdir(context, { recursive: true });
  await writeFile(join(context, 'Dockerfile'), `${dockerfile.join('\n')}\n`);
  await writeFile(join(context, 'copied'), 'copied\n');
  return docker.run(['build', '--tag', name, ...flags, context], { env: { DOCKER_BUILDKIT: '0' } });
}

t('steps run one after another, as the user, in the directory and with the variables that were named', () =>
  docker.cleanly(async () => {
    const { exitCode, stdout, stderr } = await build(
      'built',
      [
        'FROM box:1',
        'ARG WHAT=nothing',
        'ENV KEPT=kept',
        'WORKDIR /work',
        'COPY copied /work/copied',
        'RUN cat copied >first && echo "$WHAT $KEPT $(id -u)" >>first && busybox chown 1000 /work',
        'USER 1000:1000',
        'RUN cat first >second && id -u >>second',
        'CMD ["cat", "second"]',
      ],
      '--build-arg',
      'WHAT=something',
    );
    assert.is(exitCode, 0, stdout + stderr);
    assert.is(await docker.output('run', '--rm', 'built'), 'copied\nsomething kept 0\n1000');
  }),
);

t('a step that fails ends the build with its exit status', () =>
  docker.cleanly(async () => {
    const { exitCode, stderr } = await build('failing', ['FROM box:1', 'RUN exit 9']);
    assert.is(exitCode, 9);
    assert.match(stderr, 'returned a non-zero code: 9');
  }),
);

t('a limit of the build is the limit of its steps', () =>
  docker.cleanly(async () => {
    const full = ['FROM box:1', 'RUN busybox dd if=/dev/zero of=/dev/null bs=64M count=1'];
    const { exitCode } = await build('full', full, '--memory', '16m', '--memory-swap', '16m');
    assert.is(exitCode, 137);
  }),
);

t('a Debian: dpkg works in a step, and the result runs', () =>
  docker.cleanly(async () => {
    const script =
      "printf 'Package: made\\nVersion: 1\\nArchitecture: all\\nMaintainer: x\\nDescription: x\\n' >p/DEBIAN/control";
    const { exitCode, stdout, stderr } = await build('packaged', [
      'FROM debian:12',
      `RUN mkdir -p p/DEBIAN && ${script} && dpkg-deb --build p made.deb && dpkg --install made.deb`,
    ]);
    assert.is(exitCode, 0, stdout + stderr);
    assert.is(await docker.output('run', '--rm', 'packaged', 'dpkg-query', '-W', 'made'), 'made\t1');
    const pty = await docker.terminal('run', '--rm', '-it', 'packaged');
    await pty.shows(/root@\w+:\/# /);
    pty.type('tty\r');
    await pty.shows(/\/dev\/pts\/0/);
    pty.type('exit 8\r');
    assert.is(await pty.exited, 8);
  }),
);

t.run();
