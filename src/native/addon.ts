// The addon as it is (crates/node): rows and lines cross as JSON, failures as values. Types only; only the rest of
// src/native.ts and src/native/ uses them.

import type { Failure } from '../engine/errors.ts';
import type { ChildExit, Compressed, CompressOptions, PumpOptions, SpawnOptions } from './options.ts';

export type Outcome<T> = T | { failure: Failure };

export interface Addon {
  spawn(options: SpawnOptions): Outcome<number>;
  reap(pid: number): Promise<Outcome<Partial<ChildExit>>>;
  memfd(content: string | Uint8Array): Outcome<number>;
  pipe(): Outcome<[read: number, write: number]>;
  socketpair(): Outcome<[number, number]>;
  close(fd: number): Outcome<void>;
  lockExclusive(path: string, patience: number): Outcome<number>;
  linkDescriptor(fd: number, path: string): Outcome<void>;
  removeRunDirectory(path: string): Outcome<void>;
  areThere(paths: readonly string[]): boolean;
  syncFileSystem(path: string): Promise<Outcome<void>>;
  connect(path: string): Outcome<number>;
  send(fd: number, line: string, fds: readonly number[], wait: boolean): Outcome<number>;
  compress(options: CompressOptions): Promise<Outcome<Compressed>>;
  pump(options: PumpOptions, onLine: (line: string) => void): Promise<Outcome<string[]>>;
  now(): string;
  sha256(bytes: Uint8Array): string;
  openDatabase(path: string): Outcome<NativeDatabase>;
}

/** The addon's own class: rows cross as JSON. */
export interface NativeDatabase {
  close(): void;
  insertContainer(json: string): Outcome<void>;
  container(reference: string): Outcome<string>;
  containers(json: string): Outcome<string>;
  starting(id: string): Outcome<void>;
  started(id: string, pid: number, at: string): Outcome<boolean>;
  paused(id: string): Outcome<void>;
  unpaused(id: string): Outcome<void>;
  exited(id: string, json: string): Outcome<boolean>;
  rename(id: string, name: string): Outcome<void>;
  updateDocument(id: string, json: string): Outcome<void>;
  removeContainer(id: string): Outcome<string>;
  insertImage(json: string, action: string): Outcome<void>;
  image(reference: string): Outcome<string>;
  imageId(reference: string): Outcome<string | null>;
  images(): Outcome<string>;
  tag(reference: string, id: string): Outcome<void>;
  untag(reference: string): Outcome<void>;
  removeImage(id: string, force: boolean): Outcome<string>;
  insertLayer(json: string): Outcome<void>;
  layer(diffId: string): Outcome<string>;
  layers(): Outcome<string>;
  insertLayerSources(json: string): Outcome<void>;
  layerSources(diffId: string): Outcome<string>;
  insertVolume(json: string): Outcome<boolean>;
  volume(name: string): Outcome<string>;
  volumes(): Outcome<string>;
  removeVolume(name: string): Outcome<void>;
  insertNetwork(json: string): Outcome<void>;
  network(reference: string): Outcome<string>;
  networks(): Outcome<string>;
  removeNetwork(id: string): Outcome<void>;
  insertEndpoint(json: string): Outcome<void>;
  endpointsOfContainer(containerId: string): Outcome<string>;
  endpointsOfNetwork(networkId: string): Outcome<string>;
  removeEndpoint(networkId: string, containerId: string): Outcome<void>;
  lease(containerId: string, json: string): Outcome<string>;
  ports(containerId: string): Outcome<string>;
  releasePorts(containerId: string, json: string): Outcome<void>;
  appendEvent(json: string): Outcome<void>;
  events(json: string): Outcome<string>;
  reconcile(runRoot: string): Outcome<string>;
}
