//! The command line of an OCI runtime, as runc has it and its callers (containerd, CRI-O, podman, dockerd) use it.
//! This file is the table of its verbs.

mod arguments;
mod bundle;
mod cgroup;
mod checkpoint;
mod console;
mod container;
mod create;
mod delete;
mod events;
mod exec;
mod features;
mod foreground;
mod identity;
mod kill;
mod list;
mod log;
mod make;
mod pause;
mod pid_file;
mod ps;
mod removal;
mod restore;
mod run;
mod seccomp;
mod spec;
mod start;
mod state;
mod stdio;
mod store;
mod update;

use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;

use arguments::{Arguments, Flag, switch, truth, usage, value};
use kapsel_cgroups::Driver;
use kapsel_sandbox::Trace;
use log::Log;
use store::Store;

use crate::error::Result;
use crate::{ExitCode, print, rootless, version};

/// What every verb is told beside its own arguments.
pub struct Context {
    /// Where containers are kept.
    pub store: Store,
    /// Where to complain.
    pub log: Rc<Log>,
    /// Where the time goes.
    pub trace: Trace,
    /// Whether we are root of a user namespace only.
    pub rootless: bool,
    /// Whether we are that of one of our own making, outside of which are the ids that a document calls the host's.
    pub own_namespace: bool,
    /// Whether a container that asks for nothing of a cgroup may be without one, where one cannot be had.
    pub cgroup_optional: bool,
    /// Who makes cgroups.
    pub driver: Driver,
}

/// One verb.
struct Verb {
    name: &'static str,
    /// What it does, for `--help`.
    does: &'static str,
    /// Its words, for `--help`.
    words: &'static str,
    flags: &'static [Flag],
    /// After how many words its flags end.
    most: usize,
    /// The exit status where it fails.
    failure: u8,
    run: fn(&Context, &Arguments) -> Result<ExitCode>,
}

const VERBS: &[Verb] = &[
    Verb {
        name: "create",
        does: "make a container that waits for its start",
        words: "ID",
        flags: create::FLAGS,
        most: usize::MAX,
        failure: 1,
        run: create::create,
    },
    Verb {
        name: "start",
        does: "start the program of a created container",
        words: "ID",
        flags: &[],
        most: usize::MAX,
        failure: 1,
        run: start::start,
    },
    Verb {
        name: "run",
        does: "make a container and start its program",
        words: "ID",
        flags: run::FLAGS,
        most: usize::MAX,
        failure: 1,
        run: run::run,
    },
    Verb {
        name: "exec",
        does: "start a further program in a running container",
        words: "ID [PROGRAM [ARGUMENT...]]",
        flags: exec::FLAGS,
        most: 1,
        failure: 255,
        run: exec::exec,
    },
    Verb {
        name: "state",
        does: "print a container's state",
        words: "ID",
        flags: &[],
        most: usize::MAX,
        failure: 1,
        run: state::state,
    },
    Verb {
        name: "kill",
        does: "send a signal to a container (SIGTERM)",
        words: "ID [SIGNAL]",
        flags: kill::FLAGS,
        most: usize::MAX,
        failure: 1,
        run: kill::kill,
    },
    Verb {
        name: "delete",
        does: "remove a container that has stopped",
        words: "ID",
        flags: delete::FLAGS,
        most: usize::MAX,
        failure: 1,
        run: delete::delete,
    },
    Verb {
        name: "pause",
        does: "stop every process of a container",
        words: "ID",
        flags: &[],
        most: usize::MAX,
        failure: 1,
        run: pause::pause,
    },
    Verb {
        name: "resume",
        does: "let a paused container go on",
        words: "ID",
        flags: &[],
        most: usize::MAX,
        failure: 1,
        run: pause::resume,
    },
    Verb {
        name: "list",
        does: "list the containers",
        words: "",
        flags: list::FLAGS,
        most: usize::MAX,
        failure: 1,
        run: list::list,
    },
    Verb {
        name: "ps",
        does: "list the processes of a container",
        words: "ID [PS-OPTION...]",
        flags: ps::FLAGS,
        most: 1,
        failure: 1,
        run: ps::ps,
    },
    Verb {
        name: "events",
        does: "print what a container uses, and when it ran out of memory",
        words: "ID",
        flags: events::FLAGS,
        most: usize::MAX,
        failure: 1,
        run: events::events,
    },
    Verb {
        name: "update",
        does: "change the limits of a container",
        words: "ID",
        flags: update::FLAGS,
        most: usize::MAX,
        failure: 1,
        run: update::update,
    },
    Verb {
        name: "checkpoint",
        does: "write a container's processes to a directory, for restore",
        words: "ID",
        flags: checkpoint::FLAGS,
        most: usize::MAX,
        failure: 1,
        run: checkpoint::checkpoint,
    },
    Verb {
        name: "restore",
        does: "make a container of what checkpoint has written",
        words: "ID",
        flags: restore::FLAGS,
        most: usize::MAX,
        failure: 1,
        run: restore::restore,
    },
    Verb {
        name: "features",
        does: "print what this runtime can do",
        words: "",
        flags: &[],
        most: usize::MAX,
        failure: 1,
        run: features::features,
    },
    Verb {
        name: "spec",
        does: "write a config.json to begin with",
        words: "",
        flags: spec::FLAGS,
        most: usize::MAX,
        failure: 1,
        run: spec::spec,
    },
];

/// Flags before the verb.
const GLOBAL: &[Flag] = &[
    value("root"),
    value("log"),
    value("log-format"),
    switch("debug"),
    switch("systemd-cgroup"),
    value("rootless"),
    value("criu"),
    switch("help").short('h'),
    switch("version").short('v'),
];

const HELP: Flag = switch("help").short('h');

/// Reads the command line and does what it asks for.
pub fn main(arguments: &[OsString]) -> ExitCode {
    let trace = Trace::from_environment();
    trace.mark("oci: main");
    let global = match Arguments::parse(&[GLOBAL], 1, arguments) {
        Ok(global) => global,
        Err(error) => return complain(&Log::default(), &error.message, 1),
    };
    let log = match open_log(&global) {
        Ok(log) => Rc::new(log),
        Err(error) => return complain(&Log::default(), &error.message, 1),
    };
    let name = global.words.first().and_then(|word| word.to_str()).unwrap_or_default();
    let Some(verb) = VERBS.iter().find(|verb| verb.name == name) else {
        return without_verb(&global, &log, name);
    };
    let run = || {
        let arguments = Arguments::parse(&[verb.flags, &[HELP]], verb.most, &global.words[1..])?;
        if arguments.has("help") {
            return print(help_of(verb).as_bytes());
        }
        let store = Store::new(root(&global)?);
        let said = rootless_cgroup(&global)?;
        let is_ordinary = !nix::unistd::geteuid().is_root() || std::env::var_os(OWN_NAMESPACE).is_some();
        let rootless = become_root(verb, &store, &arguments)?;
        if rootless && is_ordinary {
            // SAFETY: there is one thread.
            unsafe { std::env::set_var(OWN_NAMESPACE, "1") };
        }
        let context = Context {
            trace,
            rootless,
            own_namespace: rootless && is_ordinary,
            cgroup_optional: said.unwrap_or(rootless),
            store,
            driver: if global.has("systemd-cgroup") { Driver::Systemd } else { Driver::Cgroupfs },
            log: Rc::clone(&log),
        };
        context.log.debug(&format!("{name} {:?}", arguments.words));
        (verb.run)(&context, &arguments)
    };
    run().unwrap_or_else(|error| complain(&log, &error.message, verb.failure))
}

/// Tells the program that we are after the executable has been sealed, which finds itself root of a user namespace, that
/// this is of our own making.
const OWN_NAMESPACE: &str = "_KAPSEL_OWN_NAMESPACE";

/// An ordinary user becomes root of a user namespace: of a new one, or of that of the container that is to be joined.
fn become_root(verb: &Verb, store: &Store, arguments: &Arguments) -> Result<bool> {
    // Writes the user's own id.
    if verb.name == "spec" {
        return Ok(false);
    }
    let joined = || {
        let (id, _) = arguments.id_and_words().ok()?;
        store.look(id).ok()??.process.filter(|process| process.is_alive())
    };
    match (verb.name == "exec" && !nix::unistd::geteuid().is_root()).then(joined).flatten() {
        Some(process) => rootless::enter_that_of(process.pid),
        None => rootless::enter(),
    }
}

/// `--rootless`: as with runc it is about cgroups only, and nothing is said by "auto".
fn rootless_cgroup(global: &Arguments) -> Result<Option<bool>> {
    match global.text("rootless")?.unwrap_or("auto") {
        "auto" | "" => Ok(None),
        word => match truth(word.as_bytes()) {
            Some(said) => Ok(Some(said)),
            None => Err(usage(format!("--rootless={word} is neither true nor false nor auto"))),
        },
    }
}

fn without_verb(global: &Arguments, log: &Log, name: &str) -> ExitCode {
    let result = match name {
        _ if global.has("version") => version(),
        "" | "help" => print(help().as_bytes()),
        _ => Err(usage(format!("unknown command {name:?}; see kapsel-runtime --help"))),
    };
    result.unwrap_or_else(|error| complain(log, &error.message, 1))
}

fn complain(log: &Log, message: &str, status: u8) -> ExitCode {
    log.error(message);
    status.into()
}

fn open_log(global: &Arguments) -> Result<Log> {
    Log::open(global.value("log"), global.text("log-format")?, global.has("debug"))
}

/// Where containers are kept: as asked, in the user's own run directory, or in root's.
fn root(global: &Arguments) -> Result<PathBuf> {
    let asked = global.value("root").filter(|root| !root.is_empty()).map(PathBuf::from);
    let root = asked.unwrap_or_else(|| {
        let is_root = || nix::unistd::geteuid().is_root() && !rootless::is_in_user_namespace();
        let own = std::env::var_os("XDG_RUNTIME_DIR").filter(|_| !is_root());
        own.map_or_else(|| PathBuf::from("/run"), PathBuf::from).join("kapsel-runtime")
    });
    std::path::absolute(&root).map_err(|error| usage(format!("--root {}: {error}", root.display())))
}

fn help() -> String {
    let mut text = String::from(
        "An OCI runtime: https://github.com/opencontainers/runtime-spec\n\nkapsel-runtime [flags] COMMAND [flags] [words]\n\n",
    );
    for verb in VERBS {
        text.push_str(&format!("  {:<12}{}\n", verb.name, verb.does));
    }
    text + "\n" + &flags(GLOBAL)
}

fn help_of(verb: &Verb) -> String {
    format!("kapsel-runtime {} [flags] {}: {}\n\n{}", verb.name, verb.words, verb.does, flags(verb.flags))
}

fn flags(table: &[Flag]) -> String {
    let line = |flag: &Flag| {
        let letter = flag.short.map_or("    ".to_owned(), |letter| format!("-{letter}, "));
        let value = if flag.takes == arguments::Takes::Nothing { "" } else { " VALUE" };
        format!("  {letter}--{}{value}\n", flag.name)
    };
    table.iter().map(line).collect()
}
