// WWW-Authenticate as servers really write it, and as hostile ones do.

import { suite } from 'uvu';
import * as assert from 'uvu/assert';
import { parseChallenges } from '../../src/registry/challenge.ts';

const t = suite('WWW-Authenticate');

/** Schemes and parameters, without the prototype-less objects. */
function parsed(header: string): [string, Record<string, string>][] {
  return parseChallenges(header).map(({ scheme, parameters }) => [scheme, { ...parameters }]);
}

t('a bearer challenge as Docker Hub writes it', () => {
  assert.equal(
    parsed('Bearer realm="https://auth.example/token",service="r.example",scope="repository:a/b:pull,push"'),
    [['bearer', { realm: 'https://auth.example/token', service: 'r.example', scope: 'repository:a/b:pull,push' }]],
  );
});

t('several challenges in one header', () => {
  assert.equal(parsed('Basic realm="a, b", Negotiate, Bearer realm=x , error="insufficient_scope"'), [
    ['basic', { realm: 'a, b' }],
    ['negotiate', {}],
    ['bearer', { realm: 'x', error: 'insufficient_scope' }],
  ]);
});

t('quoted pairs, spaces around the equals sign, names in any case', () => {
  assert.equal(parsed('BEARER Realm = "say \\"hi\\" \\\\ there" , SCOPE="s"'), [
    ['bearer', { realm: 'say "hi" \\ there', scope: 's' }],
  ]);
});

t('a token68 is no parameter', () => {
  assert.equal(parsed('Negotiate YII+abc/==, Basic realm="r"'), [
    ['negotiate', {}],
    ['basic', { realm: 'r' }],
  ]);
});

t('the first of two parameters of one name counts', () => {
  assert.equal(parsed('Bearer realm="a", realm="b"'), [['bearer', { realm: 'a' }]]);
});

t('a parameter named __proto__ is only a parameter', () => {
  const [challenge] = parseChallenges('Bearer __proto__="x", realm="r"');
  assert.is(challenge?.parameters.realm, 'r');
  assert.is(({} as Record<string, unknown>).x, undefined);
});

for (const header of [
  '',
  ',,,',
  '"',
  'Bearer realm="unfinished',
  '\u0000',
  '= = =',
  'a'.repeat(20_000),
  '"\\'.repeat(8_000),
]) {
  t(`${JSON.stringify(header.slice(0, 20))} ends at once, whatever it gives`, () => {
    const started = performance.now();
    parseChallenges(header);
    assert.ok(performance.now() - started < 1000);
  });
}

t('a parameter may have the name of what every object has', () => {
  const [challenge] = parseChallenges('Bearer constructor="a", toString=b, realm="https://r.example"');
  assert.equal(Object.entries(challenge!.parameters), [
    ['constructor', 'a'],
    ['tostring', 'b'],
    ['realm', 'https://r.example'],
  ]);
});

t.run();
