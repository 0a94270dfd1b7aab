// The protocol of docker-credential-helpers: a program `docker-credential-NAME` with a verb, its question on standard input.
// Secrets go over pipes only, never into arguments or the environment.

import { spawn } from 'node:child_process';
import { RegistryError } from '../engine/errors.ts';

export interface Secret {
  Username: string;
  Secret: string;
}

/** Milliseconds that a helper may think: some ask a person. */
const patience = 30_000;

export class CredentialHelper {
  readonly #name: string;
  readonly #env: NodeJS.ProcessEnv;
  /** The file that names it, for errors. */
  readonly #path: string;

  constructor(name: string, path: string, env: NodeJS.ProcessEnv) {
    if (!/^[A-Za-z0-9][A-Za-z0-9._-]*$/.test(name))
      throw invalid(`${path} names a credential helper ${JSON.stringify(name)}`);
    this.#name = name;
    this.#path = path;
    this.#env = env;
  }

  /** Undefined where it has none. */
  async get(server: string): Promise<Secret | undefined> {
    const { status, output } = await this.#run('get', `${server}\n`);
    if (status !== 0) {
      if (isUnknown(output)) return undefined;
      throw invalid(`${this.#program} found no credentials for ${server}: ${firstLine(output, status)}`);
    }
    let answer: { Username?: unknown; Secret?: unknown };
    try {
      answer = JSON.parse(output) as typeof answer;
    } catch {
      throw invalid(`${this.#program} answered for ${server} with something that is not JSON`);
    }
    const { Username, Secret } = answer;
    if (typeof Username !== 'string' || typeof Secret !== 'string' || Secret === '') return undefined;
    return { Username, Secret };
  }

  async store(server: string, secret: Secret): Promise<void> {
    const { status, output } = await this.#run('store', JSON.stringify({ ServerURL: server, ...secret }));
    if (status !== 0) {
      throw invalid(`${this.#program} did not store the credentials for ${server}: ${firstLine(output, status)}`);
    }
  }

  /** False where there were none. */
  async erase(server: string): Promise<boolean> {
    const { status, output } = await this.#run('erase', `${server}\n`);
    if (status === 0) return true;
    if (isUnknown(output)) return false;
    throw invalid(`${this.#program} did not erase the credentials for ${server}: ${firstLine(output, status)}`);
  }

  /** The servers it has credentials for. */
  async list(): Promise<string[]> {
    const { status, output } = await this.#run('list', '');
    if (status !== 0) throw invalid(`${this.#program} does not list what it has: ${firstLine(output, status)}`);
    try {
      return Object.keys(JSON.parse(output) as object);
    } catch {
      throw invalid(`${this.#program} answered with something that is not JSON`);
    }
  }

  get #program(): string {
    return `docker-credential-${this.#name}`;
  }

  async #run(verb: string, input: string): Promise<{ status: number | null; output: string }> {
    const result = await run(this.#program, verb, input, this.#env);
    if (!result.failure) return result;
    throw invalid(`cannot run ${this.#program}, named by ${this.#path}: ${result.failure}`);
  }
}

function isUnknown(output: string): boolean {
  return /credentials not found/i.test(output);
}

function firstLine(output: string, status: number | null): string {
  return output.trim().split('\n')[0] || `status ${status}`;
}

function run(
  program: string,
  verb: string,
  input: string,
  env: NodeJS.ProcessEnv,
): Promise<{ status: number | null; output: string; failure?: string }> {
  return new Promise((resolve) => {
    const child = spawn(program, [verb], { env, stdio: ['pipe', 'pipe', 'ignore'] });
    // Not spawn's own time-out, which outlives a program that cannot be started and keeps the process.
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      child.stdout.destroy(); // What the helper itself has started may hold the other end.
    }, patience);
    let output = '';
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      output += text;
      if (output.length > 1 << 20) child.kill('SIGKILL');
    });
    child.stdin.on('error', () => undefined); // A helper may answer without reading.
    child.stdin.end(input);
    child.on('error', (error) => {
      clearTimeout(timer);
      resolve({ status: null, output, failure: error.message });
    });
    child.on('close', (status, signal) => {
      clearTimeout(timer);
      resolve(signal ? { status, output, failure: `it ended with ${signal}` } : { status, output });
    });
  });
}

function invalid(message: string): RegistryError {
  return new RegistryError('REGISTRY_CREDENTIALS', message);
}
