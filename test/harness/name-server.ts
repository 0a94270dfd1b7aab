// A name server for tests, on port 53 of an address: `node name-server.ts ADDRESS NAME=ADDRESS…`. A name may be given several
// times. Other names do not exist. Every question is a line of its output: `TYPE NAME`.

import { createSocket } from 'node:dgram';
import { isIPv6 } from 'node:net';

const [, , address = '', ...records] = process.argv;
const types: Record<number, string> = { 1: 'A', 12: 'PTR', 28: 'AAAA' };

function octets(text: string): Buffer {
  if (!isIPv6(text)) return Buffer.from(text.split('.').map(Number));
  const [left = '', right = ''] = text.split('::');
  const groups = (part: string) => part.split(':').filter(Boolean);
  const zeros = Array<string>(8 - groups(left).length - groups(right).length).fill('0');
  return Buffer.from(
    [...groups(left), ...zeros, ...groups(right)].map((group) => group.padStart(4, '0')).join(''),
    'hex',
  );
}

/** Of a question with one name, as everybody asks. */
function answer(question: Buffer): Buffer {
  const labels: string[] = [];
  let at = 12;
  for (let length = question[at]!; length > 0; length = question[at]!) {
    labels.push(question.toString('latin1', at + 1, at + 1 + length));
    at += 1 + length;
  }
  const name = labels.join('.').toLowerCase();
  const type = types[question.readUInt16BE(at + 1)] ?? '?';
  console.log(`${type} ${name}`);
  const its = records.map((record) => record.split('=') as [string, string]).filter(([known]) => known === name);
  const found = its
    .map(([, value]) => octets(value))
    .filter(({ length }) => length === (type === 'AAAA' ? 16 : type === 'A' ? 4 : 0));
  const head = Buffer.from(question.subarray(0, at + 5));
  head.writeUInt16BE(its.length > 0 ? 0x8180 : 0x8183, 2);
  head.writeUInt16BE(found.length, 6);
  // Neither authority nor additional records.
  head.writeUInt32BE(0, 8);
  const answers = found.map((data) => {
    const record = Buffer.from([0xc0, 12, 0, data.length === 16 ? 28 : 1, 0, 1, 0, 0, 0, 60, 0, data.length]);
    return Buffer.concat([record, data]);
  });
  return Buffer.concat([head, ...answers]);
}

const socket = createSocket(isIPv6(address) ? 'udp6' : 'udp4');
socket.on('message', (question, { port, address: from }) => {
  try {
    socket.send(answer(question), port, from);
  } catch {
    // No question.
  }
});
socket.bind(53, address, () => console.log('ready'));
