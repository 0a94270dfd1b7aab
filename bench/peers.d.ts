/** One contestant. */
export interface Peer {
  name: string;
  command: string[];
}
/** Everybody that can be measured here. */
export declare function peers(options: {
  directory: string;
  rootfs: string;
  floor: string;
  docker: string | undefined;
}): Peer[];
/** A dockerd of the benchmark's own: no bridge, no firewall rule, in network and mount namespaces of its own. */
export declare function dockerDaemon(directory: string): Promise<
  | {
      host: string;
      stop: () => Promise<void>;
    }
  | undefined
>;
