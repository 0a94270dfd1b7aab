import { suite } from 'uvu';
import * as assert from 'uvu/assert';

import {
  bytes,
  cpuList,
  processors,
  signalName,
  signalNumber,
  ulimits,
} from '../../src/engine/containers/notation/quantities.ts';
import { refuses } from './refuses.ts';

const t = suite('amounts in Docker’s notation');

t('bytes have binary units in any case, with fractions', () => {
  const given = ['0', '42', '1b', '2k', '3KB', '4KiB', '5m', '1.5g', '1 g', '-1', 7];
  const meant = [0, 42, 1, 2048, 3072, 4096, 5242880, 1610612736, 1073741824, -1, 7];
  assert.equal(
    given.map((size) => bytes(size, '-m')),
    meant,
  );
  for (const size of ['', 'm', '1x', '-5m', '1e3', '0x10', '9999999999g', Number.NaN, 1.5]) {
    refuses(() => bytes(size, '-m'), 'SIZE_INVALID', /-m/);
  }
});

t('processors are decimals', () => {
  assert.is(processors('1.5', '--cpus'), 1.5);
  assert.is(processors('.5', '--cpus'), 0.5);
  for (const cpus of ['', 'two', '1e1', '-1', '0x1', '.', Infinity]) {
    refuses(() => processors(cpus, '--cpus'), 'CPUS_INVALID');
  }
});

t('a CPU list is numbers and ranges', () => {
  assert.equal([...cpuList('0-2,7', 'x')], [0, 1, 2, 7]);
  for (const list of ['', '2-1', 'a', '0,,1', '-1', '0-999999']) refuses(() => cpuList(list, 'x'), 'CPU_LIST_INVALID');
});

t('a ulimit has a type, a soft and a hard limit; the last of a type counts', () => {
  assert.equal(ulimits(['nofile=1024:2048', 'core=-1', 'nofile=5', 'nproc=1:unlimited']), [
    ['RLIMIT_NOFILE', { soft: 5, hard: 5 }],
    ['RLIMIT_CORE', { soft: -1, hard: -1 }],
    ['RLIMIT_NPROC', { soft: 1, hard: -1 }],
  ]);
  assert.equal(ulimits({ memlock: { soft: 1, hard: 2 } }), [['RLIMIT_MEMLOCK', { soft: 1, hard: 2 }]]);
  for (const limit of ['nofile', 'nofile=', 'nofile=2:1', 'nofile=-1:5', 'files=1', 'nofile=1:2:3', 'nofile=x']) {
    refuses(() => ulimits([limit]), 'ULIMIT_INVALID');
  }
});

t('signals have names, numbers and realtime offsets', () => {
  const given = ['SIGTERM', 'term', 9, '1', 'RTMIN', 'SIGRTMIN+3', 'RTMAX-1'];
  assert.equal(given.map(signalNumber), [15, 15, 9, 1, 34, 37, 63]);
  for (const signal of ['', '0', '65', 'SIGFOO', 'RTMIN-1', 'RTMAX+1', '-9']) {
    refuses(() => signalNumber(signal), 'SIGNAL_INVALID');
  }
  assert.is(signalName(15), 'SIGTERM');
  assert.is(signalName(6), 'SIGABRT');
});

t.run();
