// Inflates every gzipped blob of an OCI layout on one core, and throws the bytes away.

import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';

const blobs = join(process.argv[2]!, 'blobs', 'sha256');
for (const name of readdirSync(blobs)) {
  const bytes = readFileSync(join(blobs, name));
  if (bytes.readUInt16BE() === 0x1f8b) gunzipSync(bytes, { chunkSize: 1 << 20 });
}
