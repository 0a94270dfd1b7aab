//! From an OCI filter to classic BPF: which rules speak of which number on which architecture, and what to do with the
//! numbers that no rule speaks of.

use crate::{
    Action, Architecture, Error, LinuxSeccomp, LinuxSeccompArg, Program,
    assembler::{Assembler, Position, Test},
    compare::{self, Rule, Width},
    multiplex,
    table::{NONE, TABLE},
};

/// The kernel's limit, BPF_MAXINSNS.
const LONGEST: usize = 4096;
/// What libseccomp does to a call of an architecture that the filter does not name.
const FOREIGN: u32 = libc::SECCOMP_RET_KILL_THREAD;
const NO_SUCH_CALL: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;
/// Where x32's numbers begin, in the architecture of x86-64.
const X32: u32 = 0x4000_0000;
/// Where arm's private calls begin, beyond all others.
const ARM_PRIVATE: u32 = 0xf_0000;

/// What one architecture's rules come to.
struct Calls<'a> {
    architecture: Architecture,
    /// Number and rule, in the order of the profile.
    rules: Vec<(u32, Rule<'a>)>,
    /// The greatest number that the profile speaks of.
    last: Option<u32>,
}

/// Compiles a filter for an architecture and those of its sub-architectures that the filter names.
///
/// As runc and libseccomp have it: names that an architecture has not are ignored; so are rules that say what the default
/// says; a rule without conditions wins over those with conditions, among these the first that matches; conditions on
/// the same argument are alternatives; and a number beyond all that the profile knows of gets ENOSYS in place of a
/// refusal, so that programs fall back from calls newer than the profile.
pub fn compile(seccomp: &LinuxSeccomp, architecture: Architecture) -> Result<Program, Error> {
    check(seccomp)?;
    let default = value(seccomp.default_action, seccomp.default_errno_ret)?;
    let mut all: Vec<Calls> = architectures(seccomp, architecture)?
        .into_iter()
        .map(|architecture| Calls { architecture, rules: Vec::new(), last: None })
        .collect();
    let mut notifies = seccomp.default_action == Action::Notify;
    for rule in &seccomp.syscalls {
        let action = value(rule.action, rule.errno_ret)?;
        notifies |= rule.action == Action::Notify;
        for name in &rule.names {
            let Some(numbers) = numbers(name) else { continue };
            for calls in &mut all {
                let number = numbers[column(calls.architecture)];
                if number != NONE {
                    calls.last =
                        calls.last.max(Some(number).filter(|number| *number < ARM_PRIVATE || *number >= X32));
                }
                if action == default {
                    continue;
                }
                if number != NONE {
                    calls.add(number, &rule.args, action);
                }
                if calls.architecture == Architecture::X86
                    && let Some(front) = multiplex::in_front_of(name)
                {
                    // The real arguments lie where no filter can see them: what cannot be checked is refused.
                    let lenient = matches!(rule.action, Action::Allow | Action::Log);
                    if rule.args.is_empty() || !lenient {
                        calls.add(front.number, std::slice::from_ref(&front.condition), action);
                    }
                }
            }
        }
    }
    for calls in &mut all {
        calls.rules.sort_by_key(|(number, _)| *number);
    }
    let mut assembler = Assembler::default();
    let mut next = assembler.ret(FOREIGN);
    // x32 shares the number space of x86-64, and its section.
    let (x32, mut own): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|calls| calls.architecture == Architecture::X32);
    own.reverse();
    let extends =
        !matches!(seccomp.default_action, Action::Allow | Action::Log | Action::Trace | Action::Notify);
    let sections: Vec<(u32, Position)> = own
        .iter()
        .map(|calls| {
            let mut ranges = Vec::new();
            calls.ranges(&mut assembler, &mut ranges, default, extends);
            if calls.architecture == Architecture::X86_64 {
                match x32.first() {
                    Some(x32) => x32.ranges(&mut assembler, &mut ranges, default, extends),
                    None => {
                        ranges.push((X32, assembler.ret(FOREIGN)));
                        // −1 is how a tracer cancels a call.
                        ranges.push((u32::MAX, assembler.ret(default)));
                    }
                }
            }
            ranges.dedup_by(|later, earlier| later.1 == earlier.1);
            let root = assembler.search(&ranges);
            (audit(calls.architecture), assembler.load(0, root))
        })
        .collect();
    for (audit, section) in sections {
        next = assembler.branch(Test::Equal, audit, section, next);
    }
    assembler.load(4, next);
    let instructions = assembler.finish();
    if instructions.len() > LONGEST {
        return unsupported(
            "it is longer than the 4096 instructions that the kernel takes; use fewer rules with conditions",
        );
    }
    Ok(Program { instructions, flags: flags(seccomp, notifies)? })
}

impl<'a> Calls<'a> {
    fn add(&mut self, number: u32, args: &'a [LinuxSeccompArg], action: u32) {
        let repeated =
            args.iter().enumerate().any(|(at, one)| args[..at].iter().any(|other| other.index == one.index));
        if repeated {
            self.rules.extend(args.chunks(1).map(|conditions| (number, Rule { conditions, action })));
        } else {
            self.rules.push((number, Rule { conditions: args, action }));
        }
    }

    /// Appends this architecture's numbers as ranges.
    fn ranges(
        &self,
        assembler: &mut Assembler,
        ranges: &mut Vec<(u32, Position)>,
        default: u32,
        extends: bool,
    ) {
        let width = match self.architecture {
            Architecture::X86_64 | Architecture::Aarch64 => Width::Bits64,
            _ => Width::Bits32,
        };
        let mut next = if self.architecture == Architecture::X32 { X32 } else { 0 };
        for same in self.rules.chunk_by(|one, other| one.0 == other.0) {
            let number = same[0].0;
            if number > next {
                ranges.push((next, assembler.ret(default)));
            }
            let position = match same.iter().find(|(_, rule)| rule.conditions.is_empty()) {
                Some((_, rule)) => assembler.ret(rule.action),
                None => compare::rules(assembler, same, default, width),
            };
            ranges.push((number, position));
            next = number + 1;
        }
        ranges.push((next, assembler.ret(default)));
        if let Some(last) = self.last.filter(|_| extends) {
            self.extend(assembler, ranges, last, default);
        }
    }

    /// Numbers beyond the last that the profile knows of are of calls that did not exist when it was written.
    fn extend(&self, assembler: &mut Assembler, ranges: &mut Vec<(u32, Position)>, last: u32, default: u32) {
        let private: Vec<_> =
            ranges.iter().copied().filter(|(start, _)| *start >= ARM_PRIVATE && *start < X32).collect();
        ranges.retain(|(start, _)| *start <= last);
        ranges.push((last + 1, assembler.ret(NO_SUCH_CALL)));
        if self.architecture == Architecture::Arm {
            ranges.push((ARM_PRIVATE, assembler.ret(default)));
            ranges.extend(private);
        }
    }
}

/// What a document must not say.
fn check(seccomp: &LinuxSeccomp) -> Result<(), Error> {
    let invalid = |why: &str| Err(Error::InvalidProfile { why: why.to_owned() });
    let is_set = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
    if is_set(&seccomp.listener_metadata) && !is_set(&seccomp.listener_path) {
        return invalid("listenerMetadata is for the listener at listenerPath, which is missing");
    }
    if seccomp.syscalls.iter().any(|rule| rule.names.is_empty()) {
        return invalid("a rule names no system call");
    }
    if seccomp.syscalls.iter().flat_map(|rule| &rule.args).any(|condition| condition.index > 5) {
        return invalid("a system call has arguments 0 to 5");
    }
    Ok(())
}

fn unsupported<T>(why: &str) -> Result<T, Error> {
    Err(Error::Unsupported { why: why.to_owned() })
}

/// The native architecture first, then those named that the kernel can run beside it.
fn architectures(seccomp: &LinuxSeccomp, native: Architecture) -> Result<Vec<Architecture>, Error> {
    let beside: &[Architecture] = match native {
        Architecture::X86_64 => &[Architecture::X86, Architecture::X32],
        Architecture::Aarch64 => &[Architecture::Arm],
        _ => return unsupported("kapsel compiles filters for x86-64 and aarch64"),
    };
    let named = beside.iter().filter(|architecture| seccomp.architectures.contains(architecture));
    Ok(std::iter::once(&native).chain(named).copied().collect())
}

fn column(architecture: Architecture) -> usize {
    match architecture {
        Architecture::X86_64 | Architecture::Other => 0,
        Architecture::X86 => 1,
        Architecture::X32 => 2,
        Architecture::Aarch64 => 3,
        Architecture::Arm => 4,
    }
}

/// The kernel's AUDIT_ARCH_ numbers.
fn audit(architecture: Architecture) -> u32 {
    match architecture {
        Architecture::X86_64 | Architecture::X32 | Architecture::Other => 0xc000_003e,
        Architecture::X86 => 0x4000_0003,
        Architecture::Aarch64 => 0xc000_00b7,
        Architecture::Arm => 0x4000_0028,
    }
}

fn numbers(name: &str) -> Option<&'static [u32; 5]> {
    TABLE.binary_search_by(|(found, _)| (*found).cmp(name)).ok().map(|index| &TABLE[index].1)
}

/// What a filter returns for an action. An errno for an action that has none is an error, as the specification demands.
fn value(action: Action, errno: Option<u32>) -> Result<u32, Error> {
    // The kernel makes less of a greater errno (MAX_ERRNO); a tracer gets sixteen bits.
    let largest = match action {
        Action::Errno => 4095,
        Action::Trace => libc::SECCOMP_RET_DATA,
        _ => 0,
    };
    if let Some(errno) = errno.filter(|errno| *errno > largest || largest == 0) {
        let name = serde_json::to_string(&action).unwrap_or_default();
        return unsupported(&match largest {
            0 => format!("the action {name} gives no errno, and errnoRet is {errno}; remove it"),
            _ => format!("errnoRet {errno} of {name} is beyond {largest}"),
        });
    }
    let data = errno.unwrap_or(libc::EPERM as u32);
    Ok(match action {
        Action::Allow => libc::SECCOMP_RET_ALLOW,
        Action::Errno => libc::SECCOMP_RET_ERRNO | data,
        Action::Kill | Action::KillThread => libc::SECCOMP_RET_KILL_THREAD,
        Action::KillProcess => libc::SECCOMP_RET_KILL_PROCESS,
        Action::Trap => libc::SECCOMP_RET_TRAP,
        Action::Trace => libc::SECCOMP_RET_TRACE | data,
        Action::Log => libc::SECCOMP_RET_LOG,
        Action::Notify => libc::SECCOMP_RET_USER_NOTIF,
    })
}

fn flags(seccomp: &LinuxSeccomp, notifies: bool) -> Result<u32, Error> {
    let mut flags = if notifies { libc::SECCOMP_FILTER_FLAG_NEW_LISTENER } else { 0 };
    for name in &seccomp.flags {
        flags |= match name.as_str() {
            // There is one thread that the filter is to bind.
            "SECCOMP_FILTER_FLAG_TSYNC" => 0,
            "SECCOMP_FILTER_FLAG_LOG" => libc::SECCOMP_FILTER_FLAG_LOG,
            "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            // How to wait for an answer; the kernel refuses it where nobody asks.
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" if !notifies => 0,
            "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => libc::SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV,
            _ => return unsupported(&format!("kapsel does not know the flag {name:?}")),
        };
    }
    Ok(flags as u32)
}
