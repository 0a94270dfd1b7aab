export declare class Pty {
    #private;
    readonly exited: Promise<number>;
    /** What `stty` had of the terminal before the command was started. */
    before: string;
    /** Runs a shell command on a terminal of 80 by 24 of its own. */
    static open(command: string, environment?: Record<string, string>): Promise<Pty>;
    private constructor();
    get pid(): number;
    /** Everything that has been shown, control characters and all. */
    get output(): string;
    type(text: string): void;
    /** Waits until it is shown; the error says what was shown instead. */
    shows(pattern: RegExp, seconds?: number): Promise<RegExpExecArray>;
    /** Another size of the window, of which the foreground is told by SIGWINCH. */
    resize(columns: number, rows: number): Promise<void>;
    /** The terminal's settings, as `stty` has them. */
    settings(): Promise<string>;
    path(): Promise<string>;
    end(): void;
}
