import type { RunOptions, RunResult } from '../../src/index.ts';
import type { TestEngine } from '../harness/engine.ts';
export declare const image = "host:bash,cat,env,grep,head,id,ls,readlink,sleep,stat,stty,touch";
/** Runs a bash script in a new container and gives what there was. */
export declare function shell(test: TestEngine, script: string, options?: RunOptions): Promise<RunResult>;
/** What the script printed; a script that fails, or complains, fails the test. */
export declare function inside(test: TestEngine, script: string, options?: RunOptions): Promise<string>;
/** Everything an iterable gives. */
export declare function all<T>(iterable: AsyncIterable<T>): Promise<T[]>;
