// The errors of the SDK: a family a class, each with a stable `code`, the exit status a command gives for it and,
// where there is something to do about it, a hint. Whatever the addon, the executable or a monitor reports
// becomes one of these here and nowhere else. It prints nothing.

/** What more is known about an error than its code and its message. */
export interface ErrorDetails {
  /** What the user can do about it, one sentence without a full stop. */
  hint?: string;
  /** The kernel's error number, where a system call failed. */
  errno?: number;
  /** The exit status of a command that fails with this; each family has its own default. */
  exitCode?: number;
  cause?: unknown;
}

/** A failure as the addon, the executable and the monitor report it. */
export interface Failure {
  code: string;
  message: string;
  /** The positive errno of the system call that failed, 0 or absent where none did. */
  errno?: number;
  hint?: string;
  exitCode?: number;
}

/** Any failure that kapsel foresaw. `message` is one line: what was wrong, and with what. */
export class KapselError extends Error {
  /** Stable, UPPER_SNAKE: safe to compare against. */
  readonly code: string;
  /** What a command exits with; `kapsel run` turns 1 into Docker's 125. */
  readonly exitCode: number;
  readonly hint: string | undefined;
  readonly errno: number | undefined;

  constructor(code: string, message: string, details: ErrorDetails = {}) {
    // Text of the user's, or of a registry's, in a message must not make lines of its own, nor steer a terminal.
    const line = message.replace(/\p{Cc}/gu, (control) => JSON.stringify(control).slice(1, -1));
    super(line, details.cause === undefined ? undefined : { cause: details.cause });
    this.name = new.target.name;
    this.code = code;
    this.exitCode = details.exitCode ?? 1;
    this.hint = details.hint;
    this.errno = details.errno || undefined;
  }
}

/** No such container, image, volume or exec. */
export class NotFoundError extends KapselError {}

/** It exists already, is in use, or is in a state that does not allow this. */
export class ConflictError extends KapselError {}

/** A flag or an option that cannot be understood; Docker exits with 125, or with 1 where an image is named wrongly. */
export class InvalidArgumentError extends KapselError {
  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(code, message, { exitCode: 125, ...details });
  }
}

/** An image or a layer that is not what it claims to be, or not for this machine. */
export class ImageError extends KapselError {}

/** A registry that is down, refuses, or lies. */
export class RegistryError extends KapselError {}

/** The container, or the exec, never started: 125 the engine's fault, 126 not executable, 127 not found. */
export class ContainerStartError extends KapselError {
  constructor(code: string, message: string, details: ErrorDetails = {}) {
    super(code, message, { exitCode: 125, ...details });
  }
}

/** This kernel, machine or user cannot do what was asked for explicitly. */
export class UnsupportedError extends KapselError {}

/** The disk is full or refuses, or the database is damaged. */
export class StorageError extends KapselError {}

/** The caller's AbortSignal fired, or the command was interrupted. */
export class AbortedError extends KapselError {
  constructor(message = 'the operation was aborted', details: ErrorDetails = {}) {
    super('ABORTED', message, { exitCode: 130, ...details });
  }
}

type Family = new (code: string, message: string, details?: ErrorDetails) => KapselError;

/** Which class a code belongs to, by its last word, then by its first; what is not here stays a KapselError. */
const BY_SUFFIX: Record<string, Family> = {
  NOT_FOUND: NotFoundError,
  IN_USE: ConflictError,
  EXISTS: ConflictError,
  CONFLICT: ConflictError,
  NOT_RUNNING: ConflictError,
  AMBIGUOUS: InvalidArgumentError,
  INVALID: InvalidArgumentError,
  UNSUPPORTED: UnsupportedError,
};

const BY_PREFIX: Record<string, Family> = {
  DISK: StorageError,
  DATABASE: StorageError,
  STORAGE: StorageError,
  LAYER: ImageError,
  IMAGE: ImageError,
  DIGEST: ImageError,
  ARCHIVE: ImageError,
  REGISTRY: RegistryError,
};

function familyOf(code: string): Family {
  for (const [suffix, family] of Object.entries(BY_SUFFIX)) {
    if (code === suffix || code.endsWith(`_${suffix}`)) return family;
  }
  return BY_PREFIX[code.split('_', 1)[0] ?? ''] ?? KapselError;
}

/** A failure of the addon or of the executable's workers as the class its code names. */
export function errorFrom(failure: Failure): KapselError {
  const Class = familyOf(failure.code);
  return new Class(failure.code, failure.message, detailsOf(failure));
}

/** A monitor's `failed` event: the container or the exec never started. */
export function startErrorFrom(failure: Failure): ContainerStartError {
  return new ContainerStartError(failure.code, failure.message, detailsOf(failure));
}

/** ENOSYS. The newest call without which no container starts is mount_setattr(2). */
const missingCall = 38;
const kernelHint =
  'the kernel lacks a system call: Linux 5.12 or later has them, unless a sandbox around kapsel forbids it';

const networkHint =
  'load what the kernel lacks (modprobe -a bridge veth nf_tables nft_nat nft_fib_inet), or give --network none';

const permissionHint = 'networks need CAP_NET_ADMIN, which this process lacks: give --network none';

function hintOf({ code, errno }: Failure): string | undefined {
  if (errno === missingCall) return kernelHint;
  // The packet filter's and the links'.
  if (code === 'NOT_SUPPORTED') return networkHint;
  return code === 'PERMISSION_DENIED' && errno === 1 ? permissionHint : undefined;
}

function detailsOf(failure: Failure): ErrorDetails {
  const { errno, hint = hintOf(failure), exitCode } = failure;
  return {
    ...(errno ? { errno } : {}),
    ...(hint === undefined ? {} : { hint }),
    ...(exitCode === undefined ? {} : { exitCode }),
  };
}
