//! Extended BPF, as much of it as a device filter needs: instructions, loading and attaching to a cgroup.

use std::{
    io,
    os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd},
};

/// `struct bpf_insn`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Instruction {
    pub(crate) code: u8,
    /// Source register in the high four bits, destination in the low.
    pub(crate) registers: u8,
    pub(crate) offset: i16,
    pub(crate) immediate: i32,
}

impl Instruction {
    const fn new(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Self {
        Self { code, registers: source << 4 | destination, offset, immediate }
    }

    /// destination = *(u32 *)(source + offset)
    pub(crate) const fn load_word(destination: u8, source: u8, offset: i16) -> Self {
        Self::new(0x61, destination, source, offset, 0)
    }

    /// destination = source, 32 bits
    pub(crate) const fn copy(destination: u8, source: u8) -> Self {
        Self::new(0xbc, destination, source, 0, 0)
    }

    /// destination = value, 32 bits
    pub(crate) const fn set(destination: u8, value: i32) -> Self {
        Self::new(0xb4, destination, 0, 0, value)
    }

    /// destination &= mask, 32 bits
    pub(crate) const fn and(destination: u8, mask: u32) -> Self {
        Self::new(0x54, destination, 0, 0, mask.cast_signed())
    }

    /// destination >>= by, 32 bits
    pub(crate) const fn shift_right(destination: u8, by: i32) -> Self {
        Self::new(0x74, destination, 0, 0, by)
    }

    /// skip `over` instructions if register == value, 32 bits
    pub(crate) const fn jump_if_equal(register: u8, value: u32, over: usize) -> Self {
        Self::new(0x16, register, 0, over as i16, value.cast_signed())
    }

    /// skip `over` instructions if register != value, 32 bits
    pub(crate) const fn jump_unless_equal(register: u8, value: u32, over: usize) -> Self {
        Self::new(0x56, register, 0, over as i16, value.cast_signed())
    }

    pub(crate) const fn exit() -> Self {
        Self::new(0x95, 0, 0, 0, 0)
    }
}

// bpf(2): commands, and the two numbers of a device filter.
const PROG_LOAD: libc::c_long = 5;
const PROG_ATTACH: libc::c_long = 8;
const PROG_DETACH: libc::c_long = 9;
const PROG_GET_FD_BY_ID: libc::c_long = 13;
const PROG_QUERY: libc::c_long = 16;
const PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const CGROUP_DEVICE: u32 = 6;
const F_ALLOW_MULTI: u32 = 2;
const F_REPLACE: u32 = 4;

/// The attributes of `BPF_PROG_LOAD` that matter here; the kernel takes the rest for zero.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    instructions: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel_version: u32,
    flags: u32,
    name: [u8; 16],
}

#[repr(C)]
struct Attach {
    target: u32,
    program: u32,
    kind: u32,
    flags: u32,
    replace: u32,
    padding: u32,
}

#[repr(C)]
struct Query {
    target: u32,
    kind: u32,
    query_flags: u32,
    attach_flags: u32,
    ids: u64,
    count: u32,
    padding: u32,
}

fn bpf<T>(command: libc::c_long, attributes: &mut T) -> io::Result<i32> {
    // SAFETY: the attributes are a plain repr(C) structure of the size given, laid out as bpf(2) says; the buffers that
    // they point to outlive the call.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attributes), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result as i32) }
}

/// Makes a device filter the only one of a v2 cgroup, at no moment leaving it without one.
pub(crate) fn filter_devices(cgroup: BorrowedFd<'_>, instructions: &[Instruction]) -> io::Result<()> {
    let program = load(instructions)?;
    let target = cgroup.as_raw_fd() as u32;
    let mut ids = [0u32; 64];
    let mut query = Query {
        target,
        kind: CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        ids: ids.as_mut_ptr() as u64,
        count: ids.len() as u32,
        padding: 0,
    };
    bpf(PROG_QUERY, &mut query)?;
    let earlier: Vec<OwnedFd> =
        ids[..query.count as usize].iter().map(|id| open_program(*id)).collect::<Result<_, _>>()?;
    let mut attach = Attach {
        target,
        program: program.as_raw_fd() as u32,
        kind: CGROUP_DEVICE,
        flags: F_ALLOW_MULTI,
        replace: 0,
        padding: 0,
    };
    if let [only] = earlier.as_slice() {
        attach.flags |= F_REPLACE;
        attach.replace = only.as_raw_fd() as u32;
        return bpf(PROG_ATTACH, &mut attach).map(drop);
    }
    bpf(PROG_ATTACH, &mut attach)?;
    for program in earlier {
        let program = program.as_raw_fd() as u32;
        let mut detach = Attach { target, program, kind: CGROUP_DEVICE, flags: 0, replace: 0, padding: 0 };
        bpf(PROG_DETACH, &mut detach)?;
    }
    Ok(())
}

fn load(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    let mut name = [0; 16];
    name[..14].copy_from_slice(b"kapsel_devices");
    let mut attributes = Load {
        kind: PROG_TYPE_CGROUP_DEVICE,
        count: instructions.len() as u32,
        instructions: instructions.as_ptr() as u64,
        license: c"Apache-2.0".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel_version: 0,
        flags: 0,
        name,
    };
    let loaded = match bpf(PROG_LOAD, &mut attributes) {
        // Before Linux 5.11 programs count against the locked memory of who loads them.
        Err(error) if error.raw_os_error() == Some(libc::EPERM) => {
            with_locked_memory(|| bpf(PROG_LOAD, &mut attributes))
        }
        other => other,
    };
    let fd = loaded?;
    // SAFETY: the kernel has just given us this descriptor (close-on-exec, as all of bpf's are).
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Does something while memory may be locked without a limit; where the limit cannot be raised, with what there is.
fn with_locked_memory<T>(act: impl FnOnce() -> T) -> T {
    let mut own = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let unlimited = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: both structures live as long as the calls.
    let raised = unsafe {
        libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut own) == 0
            && libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const unlimited) == 0
    };
    let result = act();
    if raised {
        // SAFETY: as above. Lowering a limit is always allowed.
        unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const own) };
    }
    result
}

fn open_program(id: u32) -> io::Result<OwnedFd> {
    let mut attributes = [id, 0, 0];
    let fd = bpf(PROG_GET_FD_BY_ID, &mut attributes)?;
    // SAFETY: as in `load`.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use std::{ffi::CStr, fs::File};

    use super::*;
    use crate::{Cgroup, LinuxDeviceCgroup, LinuxResources, devices};

    fn rules(json: &str) -> Vec<LinuxDeviceCgroup> {
        serde_json::from_str(json).unwrap()
    }

    /// Whether a process in the cgroup may read a device.
    fn may_read(procs: &File, device: &CStr) -> bool {
        // SAFETY: the child calls async-signal-safe functions only, and ends in _exit.
        let pid = unsafe { libc::fork() };
        if pid == 0 {
            // SAFETY: as above; the strings end in NUL.
            unsafe {
                libc::write(procs.as_raw_fd(), c"0".as_ptr().cast(), 1);
                libc::_exit(i32::from(libc::open(device.as_ptr(), libc::O_RDONLY) >= 0));
            }
        }
        let mut status = 0;
        // SAFETY: the status is a live integer, the process a child of ours.
        unsafe { libc::waitpid(pid, &raw mut status, 0) };
        libc::WEXITSTATUS(status) == 1
    }

    /// A hybrid machine filters devices with v1; its v2 tree takes the program all the same.
    #[test]
    fn the_kernel_takes_the_program_keeps_to_it_and_replaces_it() {
        let path = format!("/kapsel-test/bpf-{}/a", std::process::id());
        let cgroup = Cgroup::create(&path, &LinuxResources::default()).unwrap();
        let Some((_, directory)) = cgroup.directories().find(|(name, _)| matches!(*name, "" | "unified"))
        else {
            return cgroup.remove().unwrap();
        };
        let open = File::open(directory).unwrap();
        let procs = File::options().write(true).open(directory.join("cgroup.procs")).unwrap();
        let attach =
            |json| filter_devices(std::os::fd::AsFd::as_fd(&open), &devices::program(&rules(json)).unwrap());
        let null =
            r#"[{"allow": false}, {"allow": true, "type": "c", "major": 1, "minor": 3, "access": "rw"}]"#;
        attach(null).unwrap();
        assert_eq!((may_read(&procs, c"/dev/null"), may_read(&procs, c"/dev/zero")), (true, false));
        let zero =
            r#"[{"allow": false}, {"allow": true, "type": "c", "major": 1, "minor": 5, "access": "r"}]"#;
        attach(zero).unwrap();
        assert_eq!((may_read(&procs, c"/dev/null"), may_read(&procs, c"/dev/zero")), (false, true));
        // systemd's own stands beside ours: one alone is left.
        let more = load(&devices::program(&rules("[]")).unwrap()).unwrap();
        let (target, program) = (open.as_raw_fd() as u32, more.as_raw_fd() as u32);
        let mut second =
            Attach { target, program, kind: CGROUP_DEVICE, flags: F_ALLOW_MULTI, replace: 0, padding: 0 };
        bpf(PROG_ATTACH, &mut second).unwrap();
        attach(null).unwrap();
        assert_eq!((may_read(&procs, c"/dev/null"), may_read(&procs, c"/dev/zero")), (true, false));
        let mut again = Attach { target, program, kind: CGROUP_DEVICE, flags: 0, replace: 0, padding: 0 };
        assert!(bpf(PROG_DETACH, &mut again).is_err(), "the other program is still there");
        drop(procs);
        cgroup.remove().unwrap();
    }

    #[test]
    fn the_limit_of_locked_memory_is_as_before() {
        let limit = || {
            let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
            // SAFETY: the structure lives as long as the call.
            unsafe { libc::getrlimit(libc::RLIMIT_MEMLOCK, &raw mut limit) };
            (limit.rlim_cur, limit.rlim_max)
        };
        let before = limit();
        assert_eq!(with_locked_memory(|| 7), 7, "a limit that cannot be raised is no error");
        assert_eq!(limit(), before);
    }
}
