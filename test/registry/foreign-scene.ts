// A network of its own with one address of the internet, a registry that has not all layers, and a server that has:
// what foreign.test.ts wants to know, as JSON. `node foreign-scene.ts LAYOUT CERTIFICATE KEY`.

import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { sha256 } from '../../src/native.ts';
import { mediaTypes } from '../../src/registry/oci.ts';
import { FaultyRegistry, sendBlob, sendManifest, TestStore } from './faulty.ts';

const [layout = '', certificate = '', key = ''] = process.argv.slice(2);
const registry = await new FaultyRegistry(layout).start();
const layer = registry.manifest.layers[0]!;
const asked: string[] = [];
const server = createServer(
  { cert: readFileSync(certificate), key: readFileSync(key) },
  ({ url = '', headers }, response) => {
    asked.push(`${url}${headers.authorization ? ' with credentials' : ''}`);
    const to = new URL(url, 'https://x').searchParams.get('to');
    if (to) response.writeHead(302, { Location: to }).end();
    else if (url === '/loop') response.writeHead(302, { Location: '/loop' }).end();
    else if (url === '/gone') response.writeHead(404).end();
    else sendBlob(response, registry.blob(layer.digest), headers.range);
  },
);
await new Promise<void>((resolve) => server.listen(0, '0.0.0.0', resolve));
const { port } = server.address() as AddressInfo;

const foreign = 'application/vnd.docker.image.rootfs.foreign.diff.tar.gzip';
async function pull(urls: string[], mediaType = foreign): Promise<string> {
  asked.length = 0;
  const layers = [{ ...layer, mediaType, urls }, ...registry.manifest.layers.slice(1)];
  const manifest = Buffer.from(JSON.stringify({ ...registry.manifest, mediaType: mediaTypes.dockerManifest, layers }));
  registry.fault = (request, response) => {
    if (request.url?.endsWith('/manifests/1')) sendManifest(response, manifest);
    else if (request.url?.endsWith(layer.digest)) response.writeHead(404).end();
    else return false;
    return true;
  };
  const store = await TestStore.make();
  try {
    return `${(await store.images.pull(`${registry.host}/a:1`)).layers.length} layers`;
  } catch (error) {
    return (error as Error).message;
  } finally {
    await store.close();
  }
}

const outside = `https://8.8.4.4:${port}`;
const cases: Record<string, () => Promise<string>> = {
  outside: () => pull([`${outside}/layer`]),
  second: () => pull([`${outside}/gone`, `${outside}/layer`]),
  redirected: () => pull([`${outside}/?to=${encodeURIComponent(`${outside}/layer`)}`]),
  plain: () => pull([`http://8.8.4.4:${port}/layer`]),
  user: () => pull([`https://user:secret@8.8.4.4:${port}/layer`]),
  loopback: () => pull([`https://127.0.0.1:${port}/layer`]),
  name: () => pull([`https://localhost:${port}/layer`]),
  mapped: () => pull([`https://[::ffff:127.0.0.1]:${port}/layer`]),
  'redirected inside': () => pull([`${outside}/?to=${encodeURIComponent(`https://127.0.0.1:${port}/layer`)}`]),
  'redirected to plain': () => pull([`${outside}/?to=${encodeURIComponent('http://8.8.4.4/layer')}`]),
  'for ever': () => pull([`${outside}/loop`]),
  'not foreign': () => pull([`${outside}/layer`], 'application/vnd.docker.image.rootfs.diff.tar.gzip'),
};
const results: Record<string, { said: string; asked: string[] }> = {};
for (const [name, work] of Object.entries(cases)) results[name] = { said: await work(), asked: [...asked] };
console.log(JSON.stringify({ digest: sha256(registry.blob(layer.digest)), results }));
server.closeAllConnections();
server.close();
await registry.close();
