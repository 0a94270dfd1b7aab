//! What leads from the hub to other machines, by the machine's own sockets: pasta, or slirp4netns where there is no pasta or
//! where it does not work (such as on a machine that has no default route). Published ports need neither.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::{AsRawFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio, id};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Its interface in the hub.
pub const INTERFACE: &str = "tap0";

/// Each with its arguments, and the hub in the place of `@`. Link-local addresses are no network's and no other machine's, so
/// that every machine can be reached, this one by its own address too. Nothing is forwarded to the hub.
const PROGRAMS: [(&str, &str); 2] = [
    (
        "pasta",
        "--foreground --quiet --config-net --no-map-gw --no-dhcp --no-dhcpv6 --no-ra \
         --tcp-ports none --udp-ports none --tcp-ns none --udp-ns none --ns-ifname tap0 \
         --address 169.254.88.100 --netmask 255.255.255.0 --gateway 169.254.88.2 \
         --address fd6b:6170:7365::100 --gateway fd6b:6170:7365::2 --netns-only --netns @",
    ),
    (
        "slirp4netns",
        "--configure --mtu=65520 --disable-host-loopback --cidr=169.254.88.0/24 --netns-type=path @ tap0",
    ),
];

/// One that has run for so long did work.
const LASTING: Duration = Duration::from_secs(1);
/// How long to wait where none works.
const PAUSE: Duration = Duration::from_secs(10);

/// Keeps a program running, another when it has ended. Where none works to begin with, and one must, it says so and ends the
/// process.
pub fn keep(mut report: io::PipeWriter, must_work: bool) -> ! {
    let mut worked = !must_work;
    loop {
        let began = Instant::now();
        let why = PROGRAMS.iter().fold(None, |why, (program, arguments)| {
            if began.elapsed() >= LASTING {
                return why;
            }
            let what = run(program, arguments);
            why.or(what)
        });
        worked |= began.elapsed() >= LASTING;
        if worked {
            if began.elapsed() < LASTING {
                sleep(PAUSE);
            }
            continue;
        }
        let _ = match why {
            Some(why) => {
                writeln!(report, "NETWORK_FAILED cannot connect this user's containers to networks: {why}")
            }
            None => writeln!(
                report,
                "NETWORK_PROGRAM_MISSING an ordinary user's containers are connected to networks by pasta, which is not here; install the package passt (or slirp4netns)"
            ),
        };
        // SAFETY: ends this process, which has nothing to put in order.
        unsafe { libc::_exit(1) };
    }
}

/// Runs it to its end, and returns its last words; nothing where it is not installed.
fn run(program: &str, arguments: &str) -> Option<String> {
    let hub = format!("/proc/{}/ns/net", id());
    let words = arguments.split_ascii_whitespace().map(|word| if word == "@" { &hub } else { word });
    let begin = || -> io::Result<(std::process::Child, File)> {
        let words_file = last_words()?;
        let mut command = Command::new(program);
        command.args(words).current_dir("/").stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(words_file.try_clone()?);
        // SAFETY: prctl may be called between fork and exec. The program dies with this thread, which is the process.
        unsafe {
            command.pre_exec(|| {
                libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong, 0_u64, 0_u64, 0_u64);
                Ok(())
            });
        }
        Ok((command.spawn()?, words_file))
    };
    let (mut child, mut file) = match begin() {
        Ok(begun) => begun,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return None,
        Err(error) => return Some(format!("{program}: {error}")),
    };
    let status = child.wait();
    let mut text = Vec::new();
    let _ = file.rewind().and_then(|()| file.read_to_end(&mut text));
    let text = String::from_utf8_lossy(&text);
    // pasta complains about a missing system log after each of its lines.
    let last = text
        .lines()
        .map(|line| line.trim_matches(|c: char| c.is_control() || c.is_whitespace()))
        .rfind(|line| !line.is_empty() && !line.ends_with("to syslog"));
    let ended = || status.map_or_else(|error| error.to_string(), |status| status.to_string());
    Some(format!("{program}: {}", last.map_or_else(ended, str::to_owned)))
}

/// A file for them, which does not grow however much is said.
fn last_words() -> io::Result<File> {
    const LONGEST: u64 = 16 << 10;
    // SAFETY: the name ends with a NUL byte.
    let fd = unsafe { libc::memfd_create(c"words".as_ptr(), libc::MFD_CLOEXEC | libc::MFD_ALLOW_SEALING) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call has just made this descriptor, and nobody else has it.
    let file = unsafe { File::from_raw_fd(fd) };
    file.set_len(LONGEST)?;
    // SAFETY: no pointer is passed.
    unsafe { libc::fcntl(file.as_raw_fd(), libc::F_ADD_SEALS, libc::F_SEAL_GROW) };
    Ok(file)
}
