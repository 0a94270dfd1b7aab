//! What is said on a connection: requests of clients, replies and events of the monitor.
//! ARCHITECTURE.md, "The connection", is the specification; only the words are here.

use kapsel_cgroups::{LinuxResources, Stats};
use kapsel_sandbox::spec;
use serde::{Deserialize, Serialize};
use serde_json::from_slice;

use super::network::Networking;
use crate::clock::Timestamp;
use crate::criu::Terms;
use crate::error::Error;

/// What a client asks for.
#[derive(Debug)]
pub enum Request {
    /// To be given the streams, whose descriptors came along.
    Attach(Streams),
    /// A further process.
    Exec(Box<Exec>),
    /// Another size of the terminal.
    Resize(Resize),
    /// A signal to the process.
    Signal(Signal),
    /// A signal, and SIGKILL when that has not helped.
    Stop(Stop),
    /// To freeze the container.
    Pause,
    /// To thaw it.
    Resume,
    /// To change its limits; what is absent stays.
    Update(Box<Update>),
    /// To be on these networks, with these ports, and no others.
    Network(Box<Rewire>),
    /// To be written down, with everything that it has in memory.
    Checkpoint(Box<Checkpoint>),
    /// To tell what the container has used.
    Stats,
}

impl Request {
    /// Reads one: first what is asked for, then with what, from the same document. An enum that serde tells apart by a
    /// member would be read through a copy of the document, with a reader of its own for every type in it.
    pub fn read(json: &[u8]) -> serde_json::Result<Self> {
        #[derive(Deserialize)]
        struct Asked {
            request: Word,
        }
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        enum Word {
            Attach,
            Exec,
            Resize,
            Signal,
            Stop,
            Pause,
            Resume,
            Update,
            Network,
            Checkpoint,
            Stats,
        }
        Ok(match from_slice::<Asked>(json)?.request {
            Word::Attach => Self::Attach(from_slice(json)?),
            Word::Exec => Self::Exec(Box::new(Exec { streams: from_slice(json)?, ..from_slice(json)? })),
            Word::Resize => Self::Resize(from_slice(json)?),
            Word::Signal => Self::Signal(from_slice(json)?),
            Word::Stop => Self::Stop(from_slice(json)?),
            Word::Stats => Self::Stats,
            Word::Pause => Self::Pause,
            Word::Resume => Self::Resume,
            Word::Update => Self::Update(from_slice(json)?),
            Word::Network => Self::Network(from_slice(json)?),
            Word::Checkpoint => {
                Self::Checkpoint(Box::new(Checkpoint { terms: from_slice(json)?, ..from_slice(json)? }))
            }
        })
    }
}

/// A resize request.
#[derive(Debug, Deserialize)]
pub struct Resize {
    /// Width in characters.
    pub columns: u16,
    /// Height in characters.
    pub rows: u16,
}

/// A signal request.
#[derive(Debug, Deserialize)]
pub struct Signal {
    /// Its number.
    pub signal: i32,
}

/// A stop request.
#[derive(Debug, Deserialize)]
pub struct Stop {
    /// Its number; absent: the container's stop signal.
    pub signal: Option<i32>,
    /// Seconds; absent: the container's stop time-out.
    pub timeout: Option<f64>,
}

/// An update request.
#[derive(Debug, Deserialize)]
pub struct Update {
    /// The new limits.
    pub resources: LinuxResources,
}

/// A request of networks.
#[derive(Debug, Deserialize)]
pub struct Rewire {
    /// All of them, as in the Launch.
    pub network: Networking,
}

/// Which descriptors came with a request, in this order.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(default)]
pub struct Streams {
    /// The client's stdin.
    pub stdin: bool,
    /// The client's stdout.
    pub stdout: bool,
    /// The client's stderr.
    pub stderr: bool,
}

/// An exec request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exec {
    /// The program.
    pub process: spec::Process,
    /// `name|uid[:group|gid]`, resolved in the container.
    #[serde(default)]
    pub user: String,
    /// Supplementary groups, names or numbers.
    #[serde(default)]
    pub group_add: Vec<String>,
    /// The client's streams, which are members of the request too.
    #[serde(skip)]
    pub streams: Streams,
    /// Whether it runs without any.
    #[serde(default)]
    pub detach: bool,
}

/// A checkpoint request.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Checkpoint {
    /// The document that the container was made by.
    pub config: spec::Config,
    /// Where to, and what of it: members of the request too.
    #[serde(skip)]
    pub terms: Terms,
    /// Whether the container goes on afterwards.
    #[serde(default)]
    pub leave_running: bool,
}

/// The answer to a request that is not an exec.
#[derive(Debug, Serialize)]
#[serde(tag = "reply", rename_all = "camelCase")]
pub enum Reply<'a> {
    /// Done.
    Ok,
    /// Done: what the container has used.
    #[serde(rename = "ok")]
    Used {
        /// By the counters of its cgroup.
        stats: Stats,
    },
    /// Not done.
    Error {
        /// A stable name in UPPER_SNAKE.
        code: &'a str,
        /// One line.
        message: &'a str,
    },
}

/// What happens to the container, or to a connection's own process.
#[derive(Debug, Clone, Serialize)]
#[serde(tag = "event", rename_all = "camelCase", rename_all_fields = "camelCase")]
pub enum Event {
    /// The program has been executed.
    Started {
        /// Its id on the host.
        pid: i32,
        /// When.
        started_at: Timestamp,
        /// Whether the packet filter had to be made anew on the way: what other containers had in it is missing.
        #[serde(skip_serializing_if = "std::ops::Not::not")]
        filter_made: bool,
    },
    /// It never was.
    Failed(Failure),
    /// It has ended, and everything it wrote has been written.
    Exited(Exit),
}

/// Why there is no process.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Failure {
    /// Docker's: 125, 126 or 127.
    pub exit_code: u8,
    /// What went wrong.
    #[serde(flatten)]
    pub error: Error,
}

impl Failure {
    /// What the container's record has: as Docker's, 128 where the fault is the engine's, whose commands exit with 125.
    pub fn recorded(&self) -> i32 {
        if self.exit_code == 125 { 128 } else { i32::from(self.exit_code) }
    }
}

/// How a process ended.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// Its status, or 128 and the signal.
    pub exit_code: i32,
    /// The signal that killed it, if one did.
    pub signal: Option<i32>,
    /// Whether the kernel killed a process of the container for want of memory.
    pub oom_killed: bool,
    /// When the monitor saw it.
    pub finished_at: Timestamp,
}

/// An event of an exec: marked, because its connection also hears that the container runs.
#[derive(Debug, Serialize)]
pub struct OfExec<'a> {
    #[serde(flatten)]
    event: &'a Event,
    exec: bool,
}

impl Event {
    /// The line for a connection whose own process, an exec's, this is about.
    pub fn of_exec(&self) -> OfExec<'_> {
        OfExec { event: self, exec: true }
    }
}

/// A line of the connection.
pub fn line(message: &impl Serialize) -> String {
    // Strings, numbers and booleans: there is nothing in them that could not be written.
    serde_json::to_string(message).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_read_as_the_contract_writes_them() {
        let read = |json: &str| Request::read(json.as_bytes());
        assert!(matches!(
            read(r#"{"request":"attach","stdin":true,"stdout":true,"stderr":false}"#),
            Ok(Request::Attach(Streams { stdin: true, stdout: true, stderr: false }))
        ));
        assert!(matches!(
            read(r#"{"request":"resize","columns":80,"rows":24}"#),
            Ok(Request::Resize(Resize { columns: 80, rows: 24 }))
        ));
        assert!(matches!(
            read(r#"{"request":"stop"}"#),
            Ok(Request::Stop(Stop { signal: None, timeout: None }))
        ));
        assert!(matches!(read(r#"{"request":"pause"}"#), Ok(Request::Pause)));
        assert!(matches!(
            read(r#"{"request":"update","resources":{"pids":{"limit":5}}}"#),
            Ok(Request::Update(_))
        ));
        let exec = r#"{"request":"exec","process":{"args":["sh"],"cwd":"/"},"user":"","groupAdd":["video"],"stdout":true,"detach":false}"#;
        assert!(
            matches!(read(exec), Ok(Request::Exec(exec)) if exec.streams.stdout && exec.group_add == ["video"])
        );
        let checkpoint = r#"{"request":"checkpoint","config":{"ociVersion":"1.3.0"},"images":"/i","work":"/w","leaveRunning":true,"tcpEstablished":true}"#;
        assert!(matches!(read(checkpoint), Ok(Request::Checkpoint(asked))
            if asked.leave_running && asked.terms.tcp_established && !asked.terms.file_locks
                && asked.terms.images.as_os_str() == "/i"));
        for garbage in
            ["", "{}", "null", r#"{"request":"reboot"}"#, r#"{"request":"resize","columns":70000,"rows":1}"#]
        {
            assert!(read(garbage).is_err(), "{garbage}");
        }
    }

    #[test]
    fn events_are_written_as_the_contract_reads_them() {
        assert_eq!(line(&Reply::Ok), r#"{"reply":"ok"}"#);
        assert_eq!(
            line(&Reply::Error { code: "A", message: "b" }),
            r#"{"reply":"error","code":"A","message":"b"}"#
        );
        let started = Event::Started { pid: 7, started_at: Timestamp::now(), filter_made: false };
        assert!(line(&started).starts_with(r#"{"event":"started","pid":7,"startedAt":"20"#));
        assert!(line(&started.of_exec()).ends_with(r#"Z","exec":true}"#));
        let failed =
            Event::Failed(Failure { exit_code: 127, error: Error::new("PROGRAM_NOT_FOUND", "no \"x\"") });
        let expected =
            r#"{"event":"failed","exitCode":127,"code":"PROGRAM_NOT_FOUND","message":"no \"x\"","errno":0}"#;
        assert_eq!(line(&failed), expected);
        let exit = Exit { exit_code: 137, signal: Some(9), oom_killed: true, finished_at: Timestamp::now() };
        assert!(
            line(&Event::Exited(exit)).starts_with(
                r#"{"event":"exited","exitCode":137,"signal":9,"oomKilled":true,"finishedAt":"2"#
            )
        );
    }
}
