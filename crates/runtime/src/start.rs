//! What every program of the standard library can rely on when its `main` begins, and ours must see to.

/// Opens the standard streams that the caller has closed: what is opened next would be one of them. Ignores SIGPIPE:
/// writing to nobody is an error like any other.
pub fn prepare() {
    let mut streams = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: the array has that many elements.
    unsafe { libc::poll(streams.as_mut_ptr(), 3, 0) };
    for _ in streams.iter().filter(|stream| stream.revents & libc::POLLNVAL != 0) {
        // SAFETY: a C string of the program. The lowest number that is free is given, which is the stream's.
        if unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR) } < 0 {
            std::process::abort();
        }
    }
    // SAFETY: no handler is given.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
}
