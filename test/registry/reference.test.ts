// What users type and what it means, by Docker's rules.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { canonical, familiar, parseReference } from '../../src/registry/reference.ts';

const digest = `sha256:${'a'.repeat(64)}`;
const t = suite('references');

const meanings: [text: string, canonical: string, familiar: string][] = [
  ['debian', 'docker.io/library/debian:latest', 'debian:latest'],
  ['debian:12', 'docker.io/library/debian:12', 'debian:12'],
  ['user/app:v1', 'docker.io/user/app:v1', 'user/app:v1'],
  ['docker.io/debian', 'docker.io/library/debian:latest', 'debian:latest'],
  ['index.docker.io/library/debian', 'docker.io/library/debian:latest', 'debian:latest'],
  ['docker.io/user/app', 'docker.io/user/app:latest', 'user/app:latest'],
  ['docker.io/a.b/c', 'docker.io/a.b/c:latest', 'docker.io/a.b/c:latest'],
  ['localhost/app', 'localhost/app:latest', 'localhost/app:latest'],
  ['localhost:5000/app', 'localhost:5000/app:latest', 'localhost:5000/app:latest'],
  ['127.0.0.1:5000/debian:12', '127.0.0.1:5000/debian:12', '127.0.0.1:5000/debian:12'],
  ['[::1]:5000/a/b/c', '[::1]:5000/a/b/c:latest', '[::1]:5000/a/b/c:latest'],
  ['ghcr.io/a/b_c/d__e.f-g', 'ghcr.io/a/b_c/d__e.f-g:latest', 'ghcr.io/a/b_c/d__e.f-g:latest'],
  ['Host/app', 'Host/app:latest', 'Host/app:latest'],
  [`debian@${digest}`, `docker.io/library/debian@${digest}`, `debian@${digest}`],
  [`r.example/a:1@${digest}`, `r.example/a:1@${digest}`, `r.example/a:1@${digest}`],
  ['debian:UPPER_1.2-x', 'docker.io/library/debian:UPPER_1.2-x', 'debian:UPPER_1.2-x'],
];

for (const [text, whole, short] of meanings) {
  t(`${text} means ${whole}`, () => {
    const reference = parseReference(text);
    assert.is(canonical(reference), whole);
    assert.is(familiar(reference), short);
    assert.equal(parseReference(whole), reference);
    assert.equal(parseReference(short), reference);
  });
}

const refused: [text: string, why: RegExp][] = [
  ['', /empty/],
  ['Debian', /lower case/],
  ['r.example/Foo/bar', /lower case/],
  ['debian:', /tag/],
  ['debian:-1', /tag/],
  [`debian:${'a'.repeat(129)}`, /tag/],
  ['debian@sha256:abc', /digest/],
  [`debian@sha512:${'a'.repeat(128)}`, /digest/],
  [`debian@${digest.toUpperCase()}`, /digest/],
  ['a//b', /write/],
  ['/a', /write/],
  ['a/', /write/],
  ['../etc/passwd', /registry|write/],
  ['r.example/../../v2/x', /write/],
  ['r.example/a/./b', /write/],
  ['a b', /write/],
  ['a\nb', /write/],
  ['r.example:99999/a', /host\[:port\]/],
  ['r.example:0/a', /host\[:port\]/],
  ['-r.example/a', /host\[:port\]/],
  ['user@r.example/a', /digest/],
  ['[::zz]:1/a', /host\[:port\]/],
  ['a__b___c', /write/],
  ['f'.repeat(64), /an id/],
  [`r.example/${'a'.repeat(256)}`, /255/],
];

for (const [text, why] of refused) {
  t(`${JSON.stringify(text.slice(0, 40))} is refused`, () => {
    try {
      parseReference(text);
    } catch (error) {
      const { code, message } = error as { code: string; message: string };
      assert.is(code, 'REFERENCE_INVALID');
      assert.match(message, /^invalid reference format: /);
      assert.match(message, why);
      assert.not.match(message, /\n/);
      return;
    }
    assert.unreachable(`${text} was accepted`);
  });
}

t.run();
