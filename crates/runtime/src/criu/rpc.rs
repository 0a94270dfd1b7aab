//! What is said to `criu swrk` and what it answers (CRIU's images/rpc.proto, whose numbers these are).

use super::wire::{Message, fields};
use crate::error::{Error, Result};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The images of a process tree.
    Dump = 1,
    /// The process tree of images.
    Restore = 2,
    /// What can be dumped while the processes run.
    PreDump = 4,
    /// The answer to a notification.
    Notify = 6,
    /// Which of the kernel's features there are.
    FeatureCheck = 9,
    /// CRIU's version.
    Version = 10,
}

/// How cgroups are restored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupMode {
    /// Not at all.
    Ignore = 0,
    /// Those that are missing are made, with what was dumped of them.
    Soft = 3,
    /// All get what was dumped.
    Full = 4,
    /// None may exist.
    Strict = 5,
}

/// Options of a dump or a restore; what is absent or false is not sent.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// CRIU's descriptor of the images' directory.
    pub images_dir_fd: i32,
    /// CRIU's descriptor of the directory for the log and what is temporary.
    pub work_dir_fd: i32,
    /// The log's name in that directory.
    pub log_file: &'static str,
    /// The root of the tree to dump.
    pub pid: Option<i32>,
    /// Where the root is mounted.
    pub root: Option<String>,
    /// An earlier dump, relative to the images.
    pub parent_img: Option<String>,
    /// A configuration file, which overrides these options.
    pub config_file: Option<String>,
    /// The freezer's directory.
    pub freeze_cgroup: Option<String>,
    /// The cgroup that stands for the dumped one.
    pub cgroup_root: Option<String>,
    /// What becomes of cgroups.
    pub manage_cgroups: Option<CgroupMode>,
    /// Resources outside the container: `mnt[KEY]:VALUE`, `net[INODE]:KEY`, `file[MOUNT:INODE]`.
    pub external: Vec<String>,
    /// Descriptors of CRIU's that stand for dumped ones.
    pub inherit_fd: Vec<(String, i32)>,
    /// Namespaces to join: kind and path.
    pub join_ns: Vec<(&'static str, String)>,
    /// Address and port of a page server.
    pub page_server: Option<(String, u16)>,
    /// `CLONE_NEW*` of namespaces whose content is neither dumped nor restored.
    pub empty_ns: u32,
    /// AppArmor or SELinux profile, with its kind and a colon before it.
    pub lsm_profile: Option<String>,
    /// SELinux label of mounts.
    pub lsm_mount_context: Option<String>,
    /// The tree goes on after its dump.
    pub leave_running: bool,
    /// Established TCP connections are kept.
    pub tcp_established: bool,
    /// Connections that are still being made are left out.
    pub tcp_skip_in_flight: bool,
    /// Unix sockets may have a peer outside.
    pub ext_unix_sk: bool,
    /// The session's terminal is outside.
    pub shell_job: bool,
    /// File locks are kept.
    pub file_locks: bool,
    /// Files without a name get one for the time being.
    pub link_remap: bool,
    /// Pages that a later dump has too are given up.
    pub auto_dedup: bool,
    /// Memory is fetched when it is used.
    pub lazy_pages: bool,
    /// Changed memory is tracked for the next dump.
    pub track_mem: bool,
    /// Files may have come to be readable, writable or executable for others.
    pub skip_file_rwx_check: bool,
    /// The tree's root becomes our child, not CRIU's.
    pub rst_sibling: bool,
}

/// Everything is logged but what only CRIU's authors need.
const LOG_LEVEL: i64 = 4;

impl Options {
    fn encode(&self) -> Message {
        let mut message = Message::default()
            .number(1, self.images_dir_fd.into())
            .number(9, LOG_LEVEL)
            .text(10, self.log_file)
            .switch(12, true)
            .number(17, self.work_dir_fd.into())
            .switch(50, true);
        let switches = [
            (3, self.leave_running),
            (4, self.ext_unix_sk),
            (5, self.tcp_established),
            (7, self.shell_job),
            (8, self.file_locks),
            (15, self.track_mem),
            (16, self.auto_dedup),
            (18, self.link_remap),
            (26, self.rst_sibling),
            (46, self.tcp_skip_in_flight),
            (48, self.lazy_pages),
            (66, self.skip_file_rwx_check),
        ];
        for (field, _) in switches.into_iter().filter(|(_, on)| *on) {
            message = message.switch(field, true);
        }
        let texts = [
            (13, &self.root),
            (14, &self.parent_img),
            (44, &self.freeze_cgroup),
            (51, &self.config_file),
            (53, &self.lsm_profile),
            (63, &self.lsm_mount_context),
        ];
        for (field, text) in texts {
            message = text.iter().fold(message, |message, text| message.text(field, text));
        }
        message = self.pid.iter().fold(message, |message, pid| message.number(2, (*pid).into()));
        if let Some((address, port)) = &self.page_server {
            message = message.message(11, &Message::default().text(1, address).number(2, (*port).into()));
        }
        if let Some(path) = &self.cgroup_root {
            message = message.message(25, &Message::default().text(2, path));
        }
        for (key, fd) in &self.inherit_fd {
            message = message.message(27, &Message::default().text(1, key).number(2, (*fd).into()));
        }
        if let Some(mode) = self.manage_cgroups {
            message = message.switch(24, true).number(34, mode as i64);
        }
        message = self.external.iter().fold(message, |message, external| message.text(37, external));
        if self.empty_ns != 0 {
            message = message.number(38, self.empty_ns.into());
        }
        for (kind, path) in &self.join_ns {
            message = message.message(39, &Message::default().text(1, kind).text(2, path));
        }
        message
    }
}

/// A request; another may follow on the same connection.
pub fn request(kind: Kind, options: Option<&Options>) -> Message {
    let message = Message::default().number(1, kind as i64);
    match options {
        Some(options) => message.message(2, &options.encode()),
        None => message.switch(4, true),
    }
}

/// A request for what is needed of the kernel.
pub fn feature_check() -> Message {
    let wanted = Message::default().switch(1, true).switch(2, true);
    Message::default().number(1, Kind::FeatureCheck as i64).switch(4, true).message(5, &wanted)
}

/// Lets CRIU go on after a notification, or give up.
pub fn acknowledge(success: bool) -> Message {
    Message::default().number(1, Kind::Notify as i64).switch(3, success)
}

/// An answer or a notification.
#[derive(Debug, Default)]
pub struct Response {
    /// [`Kind`] of what it answers.
    pub kind: i64,
    /// Whether it was done.
    pub success: bool,
    /// What CRIU is about to do, and with which process.
    pub notify: Option<(String, i32)>,
    /// The restored tree's root.
    pub pid: Option<i32>,
    /// Why it was not done.
    pub errno: i32,
    /// Why it was not done, in words.
    pub message: String,
    /// Major, minor and sublevel.
    pub version: (i64, i64, i64),
    /// Whether changed memory can be tracked.
    pub mem_track: bool,
    /// Whether memory can be fetched when it is used.
    pub lazy_pages: bool,
}

impl Response {
    /// Reads it.
    pub fn decode(bytes: &[u8]) -> Result<Self> {
        Self::read(bytes).ok_or_else(|| Error::new("CRIU_FAILED", "CRIU's answer cannot be read"))
    }

    fn read(bytes: &[u8]) -> Option<Self> {
        let mut response = Self::default();
        let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
        for (field, value) in fields(bytes)? {
            match field {
                1 => response.kind = value.number(),
                2 => response.success = value.number() != 0,
                4 => response.pid = number(value.bytes(), 1)?.map(|pid| pid as i32),
                5 => {
                    let fields = fields(value.bytes())?;
                    let script = fields.iter().find(|(field, _)| *field == 1);
                    let pid = fields.iter().find(|(field, _)| *field == 2);
                    response.notify = Some((
                        script.map(|(_, value)| text(value.bytes())).unwrap_or_default(),
                        pid.map_or(0, |(_, value)| value.number() as i32),
                    ));
                }
                7 => response.errno = value.number() as i32,
                8 => {
                    response.mem_track = number(value.bytes(), 1)? == Some(1);
                    response.lazy_pages = number(value.bytes(), 2)? == Some(1);
                }
                9 => response.message = text(value.bytes()),
                10 => {
                    let part = |field| Some(number(value.bytes(), field)?.unwrap_or(0));
                    response.version = (part(1)?, part(2)?, part(4)?);
                }
                _ => {}
            }
        }
        Some(response)
    }
}

/// A field of a message that may not have it.
fn number(bytes: &[u8], wanted: u32) -> Option<Option<i64>> {
    let fields = fields(bytes)?;
    Some(fields.iter().find(|(field, _)| *field == wanted).map(|(_, value)| value.number()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_read_whole() {
        let notify = Message::default().text(1, "post-restore").number(2, 77);
        let version = Message::default().number(1, 4).number(2, 1).text(3, "git").number(4, 1);
        let bytes = Message::default()
            .number(1, Kind::Restore as i64)
            .switch(2, true)
            .message(4, &Message::default().number(1, 42))
            .message(5, &notify)
            .number(7, -17)
            .message(8, &Message::default().switch(1, false).switch(2, true))
            .text(9, "why")
            .message(10, &version);
        let response = Response::decode(bytes.as_bytes()).unwrap();
        assert_eq!((response.kind, response.success, response.pid), (2, true, Some(42)));
        assert_eq!(response.notify, Some(("post-restore".to_owned(), 77)));
        assert_eq!((response.errno, response.message.as_str(), response.version), (-17, "why", (4, 1, 1)));
        assert!(!response.mem_track && response.lazy_pages);
        assert_eq!(Response::decode(b"\x08").unwrap_err().code, "CRIU_FAILED");
    }
}
