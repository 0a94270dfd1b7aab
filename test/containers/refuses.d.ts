export declare function refuses(work: () => unknown, code: string, message?: RegExp): void;
