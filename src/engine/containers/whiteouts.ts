// Removed files in the words of a layer's tar (OCI image-spec, layer.md): an empty file `.wh.NAME` for each NAME. Only the
// entries: another tar follows.

/** Of absolute paths in the container. */
export function whiteouts(deleted: readonly string[]): Buffer {
  return Buffer.concat(
    deleted.flatMap((path) => {
      const parts = path.split('/').filter((part) => part !== '');
      const last = parts.pop();
      return last === undefined ? [] : entry([...parts, `.wh.${last}`].join('/'));
    }),
  );
}

/** An empty file; a name too long for its header comes before it. */
function entry(path: string): Buffer[] {
  const bytes = Buffer.from(path);
  if (bytes.length <= 100) return [header(bytes, '0', 0)];
  const text = record(`path=${path}\n`);
  const padding = Buffer.alloc(-text.length & 511);
  return [header(Buffer.from('path'), 'x', text.length), text, padding, header(bytes.subarray(0, 100), '0', 0)];
}

/** A line of a pax header: its own length comes first, and counts itself. */
function record(text: string): Buffer {
  const size = Buffer.byteLength(text) + 1;
  let length = size + String(size).length;
  if (String(length).length > String(size).length) length++;
  return Buffer.from(`${length} ${text}`);
}

function header(name: Buffer, type: string, size: number): Buffer {
  const block = Buffer.alloc(512);
  name.copy(block);
  const number = (value: number, width: number) => `${value.toString(8).padStart(width, '0')}\0`;
  block.write(number(0o644, 7), 100);
  for (const offset of [108, 116]) block.write(number(0, 7), offset);
  block.write(number(size, 11), 124);
  block.write(number(0, 11), 136);
  block.write(type, 156);
  block.write('ustar\0' + '00', 257);
  block.write(' '.repeat(8), 148);
  const sum = block.reduce((total, byte) => total + byte, 0);
  block.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  return block;
}
