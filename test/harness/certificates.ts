// An authority of the tests' own and what it vouches for, made by openssl.

import { execFile } from 'node:child_process';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';

const execute = promisify(execFile);

export interface Certificate {
  /** Paths of PEM files. */
  certificate: string;
  key: string;
}

const elliptic = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2'];

/** Files `NAME.crt` and `NAME.key` in the directory. */
export async function authority(directory: string, name = 'ca'): Promise<Certificate> {
  const made = { certificate: join(directory, `${name}.crt`), key: join(directory, `${name}.key`) };
  const files = ['-keyout', made.key, '-out', made.certificate];
  await execute('openssl', ['req', '-x509', ...elliptic, '-subj', `/CN=the tests' ${name}`, ...files]);
  return made;
}

/** A certificate for 127.0.0.1 and localhost, for a server or for a client. */
export async function certify(
  directory: string,
  name: string,
  ca: Certificate,
  address = '127.0.0.1',
): Promise<Certificate> {
  const made = { certificate: join(directory, `${name}.crt`), key: join(directory, `${name}.key`) };
  const [request, extensions] = [join(directory, `${name}.csr`), join(directory, `${name}.ext`)];
  await writeFile(extensions, `subjectAltName=IP:${address},DNS:localhost\nbasicConstraints=CA:FALSE\n`);
  await execute('openssl', [
    'req',
    '-new',
    ...elliptic.slice(0, 4),
    '-nodes',
    '-subj',
    `/CN=${name}`,
    '-keyout',
    made.key,
    '-out',
    request,
  ]);
  const signing = ['-CA', ca.certificate, '-CAkey', ca.key, '-CAcreateserial', '-days', '2', '-extfile', extensions];
  await execute('openssl', ['x509', '-req', '-in', request, '-out', made.certificate, ...signing]);
  return made;
}
