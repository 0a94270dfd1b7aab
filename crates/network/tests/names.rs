//! The name server over real sockets, asked by dig, each test in its own network namespace.

use std::{
    fs,
    net::{SocketAddr, TcpListener, UdpSocket},
    os::fd::{AsFd, AsRawFd},
    path::Path,
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use kapsel_network::names::{Filter, Pin, Server, Settings, Sockets};
use nix::sched::{CloneFlags, unshare};

const OURS: &str = "127.0.0.11:53";
const UPSTREAM: &str = "127.0.0.53:53";

/// Moves this thread into a network namespace of its own.
fn alone() {
    unshare(CloneFlags::CLONE_NEWNET).expect("these tests run as root");
    assert!(Command::new("ip").args(["link", "set", "lo", "up"]).status().unwrap().success());
}

/// A thread that ends with its owner; it stays in the namespace that it was started in.
struct Loop(Arc<AtomicBool>, Option<thread::JoinHandle<()>>);

impl Loop {
    fn start(mut turn: impl FnMut() + Send + 'static) -> Self {
        let over = Arc::new(AtomicBool::new(false));
        let seen = Arc::clone(&over);
        let thread = thread::spawn(move || {
            while !seen.load(Ordering::Relaxed) {
                turn();
            }
        });
        Self(over, Some(thread))
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
        self.1.take().unwrap().join().unwrap();
    }
}

/// What has been pinned, and for how many seconds.
type Pinned = Arc<Mutex<Vec<String>>>;

/// What somebody's loop does: wait for the one descriptor.
fn serve(records: &Path, upstreams: &[&str], filter: Option<(&[&str], Pinned)>) -> Loop {
    let sockets = Sockets::open(OURS.parse().unwrap()).unwrap();
    let filter = filter.map(|(names, pinned)| {
        let pin: Pin = Box::new(move |address, good| {
            pinned.lock().unwrap().push(format!("{address} {}", good.as_secs()));
            Ok(())
        });
        let names: Vec<_> = names.iter().map(|name| (*name).to_owned()).collect();
        let near = vec!["198.51.100.1/24".parse().unwrap()];
        Filter::new(&names, near, pin).unwrap()
    });
    let upstreams = upstreams.iter().map(|text| text.parse().unwrap()).collect();
    let patience = Duration::from_millis(300);
    let settings = Settings { records: vec![records.to_owned()], upstreams, patience, filter };
    let mut server = Server::new(sockets, settings).unwrap();
    Loop::start(move || {
        let mut waited = libc::pollfd { fd: server.as_fd().as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one pollfd that outlives the call.
        if unsafe { libc::poll(&raw mut waited, 1, 20) } > 0 {
            server.on_ready();
        }
    })
}

/// An upstream that answers each question with `answer` (an A record's TTL and address), and counts them; what is longer
/// than a datagram it gives over a connection only.
fn upstream(
    address: &str,
    answer: Option<(u32, [u8; 4])>,
    count: Arc<AtomicUsize>,
    large: bool,
) -> (Loop, Loop) {
    let address: SocketAddr = address.parse().unwrap();
    let datagrams = UdpSocket::bind(address).unwrap();
    datagrams.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
    let listener = TcpListener::bind(address).unwrap();
    listener.set_nonblocking(true).unwrap();
    let reply = move |query: &[u8], records: usize| {
        let mut reply = query[..query.len()].to_vec();
        let end = 12 + query[12..].iter().position(|byte| *byte == 0).unwrap() + 5;
        reply.truncate(end);
        reply[2] |= 0x80;
        reply[3] = if answer.is_some() { 0x80 } else { 0x82 };
        reply[6..12].fill(0);
        reply[6..8].copy_from_slice(&(records as u16).to_be_bytes());
        for _ in 0..records {
            let (ttl, octets) = answer.unwrap_or_default();
            reply.extend([0xc0, 12, 0, 1, 0, 1]);
            reply.extend(ttl.to_be_bytes());
            reply.extend([0, 4]);
            reply.extend(octets);
        }
        reply
    };
    let counted = Arc::clone(&count);
    let by_datagram = Loop::start(move || {
        let mut buffer = [0; 4096];
        let Ok((length, from)) = datagrams.recv_from(&mut buffer) else { return };
        counted.fetch_add(1, Ordering::Relaxed);
        let mut reply = reply(&buffer[..length], usize::from(answer.is_some() && !large));
        if large {
            reply[2] |= 2;
        }
        // A forgery first: the right sender, the wrong number, another address.
        let mut forged = reply.clone();
        forged[0] ^= 0xff;
        *forged.last_mut().unwrap() ^= 0xff;
        datagrams.send_to(&forged, from).unwrap();
        datagrams.send_to(&reply, from).unwrap();
    });
    let by_connection = Loop::start(move || {
        use std::io::{Read, Write};
        let Ok((mut stream, _)) = listener.accept() else { return thread::sleep(Duration::from_millis(5)) };
        stream.set_nonblocking(false).unwrap();
        let mut length = [0; 2];
        stream.read_exact(&mut length).unwrap();
        let mut query = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut query).unwrap();
        count.fetch_add(1000, Ordering::Relaxed);
        let reply = reply(&query, 200);
        let mut framed = (reply.len() as u16).to_be_bytes().to_vec();
        framed.extend(reply);
        // In two pieces.
        stream.write_all(&framed[..100]).unwrap();
        thread::sleep(Duration::from_millis(20));
        stream.write_all(&framed[100..]).unwrap();
    });
    (by_datagram, by_connection)
}

/// The words of dig, sorted where there are several.
fn dig(arguments: &[&str]) -> String {
    let output = Command::new("dig").args(["@127.0.0.11", "+tries=1", "+time=4"]).args(arguments).output();
    let mut lines: Vec<_> =
        String::from_utf8(output.unwrap().stdout).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines.join(" ")
}

fn short(name: &str, kind: &str) -> String {
    dig(&["+short", name, kind])
}

fn status(name: &str, kind: &str) -> String {
    let said = dig(&[name, kind]);
    said.split("status: ").nth(1).map_or(said.clone(), |rest| rest.split(',').next().unwrap().to_owned())
}

fn records(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    files.iter().for_each(|(name, text)| fs::write(directory.path().join(name), text).unwrap());
    directory
}

#[test]
fn containers_are_known_by_their_names_and_addresses() {
    alone();
    let directory = records(&[
        ("1", "10.88.0.2 web www\nfd00::2 web www\n"),
        ("2", "10.88.0.3 api service\n"),
        ("3", "10.88.0.4 db service\n"),
    ]);
    let _server = serve(directory.path(), &[], None);
    assert_eq!(short("WEB", "A"), "10.88.0.2");
    assert_eq!(short("www.", "AAAA"), "fd00::2");
    assert_eq!(dig(&["+short", "+tcp", "web", "A"]), "10.88.0.2");
    assert_eq!(dig(&["+short", "+noedns", "web", "A"]), "10.88.0.2");
    assert_eq!(dig(&["+short", "-x", "10.88.0.2"]), "web.");
    assert_eq!(dig(&["+short", "-x", "fd00::2"]), "web.");
    // It is known, and has no address of that family: nobody else is asked.
    assert_eq!((short("api", "AAAA"), status("api", "AAAA")), (String::new(), "NOERROR".into()));
    assert_eq!(status("nobody", "A"), "NXDOMAIN");
    assert_eq!(short("service", "A"), "10.88.0.3 10.88.0.4");
    // Each has its turn to be first.
    let first = || {
        let output = Command::new("dig").args(["@127.0.0.11", "+short", "service", "A"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap().lines().next().unwrap().to_owned()
    };
    assert_ne!(first(), first());
    // A name dies with its container.
    fs::remove_file(directory.path().join("2")).unwrap();
    assert_eq!((status("api", "A"), short("service", "A")), ("NXDOMAIN".into(), "10.88.0.4".into()));
}

#[test]
fn an_answer_that_is_too_long_for_a_datagram_comes_by_a_connection() {
    alone();
    let lines: String = (0..200).map(|last| format!("10.0.0.{last} many\n")).collect();
    let directory = records(&[("1", &lines)]);
    let _server = serve(directory.path(), &[], None);
    assert_eq!(short("many", "A").split(' ').count(), 200);
    let cut = dig(&["+ignore", "many", "A"]);
    assert!(cut.contains("flags: qr aa tc rd"), "{cut}");
}

#[test]
fn other_names_are_asked_of_others_byte_for_byte() {
    alone();
    let count = Arc::new(AtomicUsize::new(0));
    let directory = records(&[("1", "10.88.0.2 web\n")]);
    let _upstream = upstream(UPSTREAM, Some((77, [192, 0, 2, 9])), Arc::clone(&count), false);
    // The first of them is dead, the second does not help.
    let refusing = Arc::new(AtomicUsize::new(0));
    let _refusing = upstream("127.0.0.54:53", None, Arc::clone(&refusing), false);
    let _server = serve(directory.path(), &["127.0.0.52:53", "127.0.0.54:53", UPSTREAM], None);
    assert_eq!(short("example.com", "A"), "192.0.2.9");
    assert_eq!((count.load(Ordering::Relaxed), refusing.load(Ordering::Relaxed)), (1, 1));
    assert!(dig(&["example.com", "A"]).contains("\t77\tIN\tA\t192.0.2.9"));
    assert_eq!(short("web", "A"), "10.88.0.2");
    assert_eq!(count.load(Ordering::Relaxed), 2, "a name of ours is nobody else's business");
}

#[test]
fn a_long_answer_of_others_comes_by_a_connection_too() {
    alone();
    let count = Arc::new(AtomicUsize::new(0));
    let directory = records(&[]);
    let _upstream = upstream(UPSTREAM, Some((77, [192, 0, 2, 9])), Arc::clone(&count), true);
    let _server = serve(directory.path(), &["127.0.0.52:53", UPSTREAM], None);
    assert_eq!(short("example.com", "A").split(' ').count(), 200);
    assert_eq!(count.load(Ordering::Relaxed), 1001);
}

#[test]
fn who_never_answers_is_not_waited_for_for_ever() {
    alone();
    let _silent = UdpSocket::bind("127.0.0.52:53").unwrap();
    let directory = records(&[]);
    let count = Arc::new(AtomicUsize::new(0));
    let _upstream = upstream(UPSTREAM, Some((1, [192, 0, 2, 9])), count, false);
    let server = serve(directory.path(), &["127.0.0.52:53", UPSTREAM], None);
    assert_eq!(short("example.com", "A"), "192.0.2.9");
    drop(server);
    let _server = serve(directory.path(), &["127.0.0.52:53"], None);
    assert_eq!(status("example.com", "A"), "SERVFAIL");
}

#[test]
fn only_what_is_allowed_is_asked_for_and_pinned_before_it_is_told() {
    alone();
    let count = Arc::new(AtomicUsize::new(0));
    let pinned = Arc::new(Mutex::new(Vec::new()));
    let directory = records(&[("1", "10.88.0.2 web\n"), ("2", "10.88.0.3 db\n")]);
    let _upstream = upstream(UPSTREAM, Some((60, [192, 0, 2, 9])), Arc::clone(&count), false);
    let _near = upstream("127.0.0.54:53", Some((60, [198, 51, 100, 7])), Arc::default(), false);
    let filter = Some((&["example.com", "db"][..], Arc::clone(&pinned)));
    let serving = serve(directory.path(), &[UPSTREAM], filter);
    // Not even a question leaves: names carry secrets out.
    assert_eq!(status("secret.example.com", "A"), "REFUSED");
    assert_eq!(status("secret.attacker.net", "TXT"), "REFUSED");
    assert_eq!(count.load(Ordering::Relaxed), 0);
    assert_eq!(short("web", "A"), "10.88.0.2");
    assert!(pinned.lock().unwrap().is_empty());
    assert_eq!((short("example.com", "A"), short("db", "A")), ("192.0.2.9".into(), "10.88.0.3".into()));
    assert_eq!(*pinned.lock().unwrap(), ["192.0.2.9 70", "10.88.0.3 600"]);
    // Whoever owns a name may say that it stands for the host, or for a neighbour.
    let added = Command::new("ip").args(["addr", "add", "192.0.2.9/32", "dev", "lo"]).status().unwrap();
    assert!(added.success());
    assert_eq!(short("example.com", "A"), "192.0.2.9");
    drop(serving);
    let filter = Some((&["example.com"][..], Arc::clone(&pinned)));
    let _serving = serve(directory.path(), &["127.0.0.54:53"], filter);
    assert_eq!(short("example.com", "A"), "198.51.100.7");
    assert_eq!(pinned.lock().unwrap().len(), 2);
}

#[test]
fn a_hostile_asker_is_survived() {
    use std::io::Write;
    alone();
    let directory = records(&[("1", "10.88.0.2 web\n")]);
    let _silent = UdpSocket::bind("127.0.0.52:53").unwrap();
    let _server = serve(directory.path(), &["127.0.0.52:53"], None);
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut state = 88172645463325252_u64;
    let query = b"\xab\xcd\x01\0\0\x01\0\0\0\0\0\0\x07unknown\0\0\x01\0\x01";
    for round in 0..5000 {
        let mut bytes = query.to_vec();
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        let at = state as usize % bytes.len();
        bytes[at] = (state >> 32) as u8;
        bytes.truncate(if round % 3 == 0 { state as usize >> 8 & 31 } else { bytes.len() });
        let _ = socket.send_to(&bytes, OURS);
    }
    let streams: Vec<_> = (0..100)
        .map(|_| {
            let mut stream = std::net::TcpStream::connect(OURS).unwrap();
            let _ = stream.write_all(&[0xff; 3]);
            stream
        })
        .collect();
    assert_eq!(short("web", "A"), "10.88.0.2");
    drop(streams);
    assert_eq!(dig(&["+short", "+tcp", "web", "A"]), "10.88.0.2");
}
