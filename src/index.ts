// What `import … from 'kapsel'` gives.

export * from './engine/containers/options.ts';
export { Container } from './engine/containers/container.ts';
export type {
  AttachedStreams,
  ContainerInspect,
  ContainerStats,
  ExecProcess,
  InterfaceStats,
} from './engine/containers/container.ts';
export * from './engine/errors.ts';
export { Engine } from './engine/engine.ts';
export type { EngineOptions } from './engine/engine.ts';
export type { Event, EventsOptions } from './engine/events.ts';
export type {
  ConnectOptions,
  Diagnosis,
  Network,
  NetworkHealth,
  NetworkMember,
  NetworkOptions,
  NetworkSubnet,
  SubnetOptions,
} from './engine/networks.ts';
export type { Volume } from './engine/volumes.ts';
export type * from './engine/images.ts';
export type * from './engine/system.ts';
export type { Access, Kept, Login, Registries, SearchOptions } from './engine/registries.ts';
export type { EngineInfo, EngineVersion } from './engine/info.ts';
