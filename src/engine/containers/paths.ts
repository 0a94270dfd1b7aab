// Where a container's files are (ARCHITECTURE.md, "On disk"). The only place that joins these names.

export interface Paths {
  /** ROOT/containers/ID */
  directory: string;
  upper: string;
  work: string;
  log: string;
  /** CRIU's images, where a checkpoint was made and not exported. */
  checkpoint: string;
  /** RUN_ROOT/containers/ID */
  runDirectory: string;
  lock: string;
  control: string;
  exit: string;
  /** What is mounted on the container's /etc/NAME. In the run directory, for every start writes it anew. */
  etc: (name: string) => string;
  seccompCache: string;
  /** ROOT/volumes/NAME */
  volume: (name: string) => string;
  volumeData: (name: string) => string;
}

export function containerPaths(root: string, runRoot: string, id: string): Paths {
  const directory = `${root}/containers/${id}`;
  const runDirectory = `${runRoot}/containers/${id}`;
  const volume = (name: string) => `${root}/volumes/${name}`;
  return {
    directory,
    upper: `${directory}/upper`,
    work: `${directory}/work`,
    log: `${directory}/log`,
    checkpoint: `${directory}/checkpoint`,
    runDirectory,
    lock: `${runDirectory}/lock`,
    control: `${runDirectory}/control`,
    exit: `${runDirectory}/exit.json`,
    etc: (name) => `${runDirectory}/${name}`,
    seccompCache: `${root}/cache`,
    volume,
    volumeData: (name) => `${volume(name)}/_data`,
  };
}

/** The tree of a layer, `sha256:HEX`. */
export function layerDirectory(root: string, diffId: string): string {
  return `${root}/layers/${diffId.slice('sha256:'.length)}`;
}
