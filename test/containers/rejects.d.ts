import { KapselError } from '../../src/engine/errors.ts';
export declare function rejects(work: Promise<unknown>, expected: {
    code?: string;
    exitCode?: number;
    message?: RegExp;
}): Promise<KapselError>;
