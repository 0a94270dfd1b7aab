//! The differential test: kapsel's filters against libseccomp's, action for action. A small C program, compiled here,
//! drives libseccomp (the Debian package libseccomp-dev), so that nothing of kapsel ever links it.

use std::{
    collections::BTreeSet,
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use kapsel_seccomp::{
    Action, Architecture, Kernel, LinuxSeccomp, LinuxSeccompArg, LinuxSyscall, Operator, Profile, compile,
};

use crate::{
    machine::{AARCH64, ARM, Call, Chance, I386, X32, X86_64, arguments, condition, filter, rule, run},
    model,
};

/// Calls that libseccomp 2.5.4 does not know: all that came with Linux 6.5 and later.
const UNKNOWN: [&str; 19] = [
    "cachestat",
    "fchmodat2",
    "futex_requeue",
    "futex_wait",
    "futex_wake",
    "getxattrat",
    "listmount",
    "listxattrat",
    "lsm_get_self_attr",
    "lsm_list_modules",
    "lsm_set_self_attr",
    "map_shadow_stack",
    "mseal",
    "quotactl_fd",
    "removexattrat",
    "set_mempolicy_home_node",
    "setxattrat",
    "statmount",
    "uretprobe",
];
const ENOSYS: u32 = 0x0005_0026;
/// socketcall and ipc of i386, whose arguments libseccomp compares otherwise.
const MULTIPLEXED: [u32; 2] = [102, 117];

struct Reference {
    program: Vec<libc::sock_filter>,
    unknown: BTreeSet<String>,
}

fn driver() -> &'static Path {
    static DRIVER: OnceLock<(tempfile::TempDir, PathBuf)> = OnceLock::new();
    let (_, path) = DRIVER.get_or_init(|| {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("libseccomp");
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/filter/libseccomp.c");
        let done = Command::new("cc").args(["-o", path.to_str().unwrap(), source, "-lseccomp"]).status();
        assert!(
            done.is_ok_and(|status| status.success()),
            "cannot compile against libseccomp; apt-get install gcc libseccomp-dev"
        );
        (directory, path)
    });
    path
}

/// The numbers that libseccomp gives the comparisons.
fn operator(op: Operator) -> u32 {
    match op {
        Operator::NotEqual => 1,
        Operator::Less => 2,
        Operator::LessOrEqual => 3,
        Operator::Equal => 4,
        Operator::GreaterOrEqual => 5,
        Operator::Greater => 6,
        Operator::MaskedEqual => 7,
    }
}

fn reference(filter: &LinuxSeccomp, audits: &[u32]) -> Reference {
    let default = model::value(filter.default_action, filter.default_errno_ret);
    let mut text = format!("default {default:x}\n");
    for audit in audits {
        text += &format!("arch {audit:x}\n");
    }
    for rule in &filter.syscalls {
        let action = model::value(rule.action, rule.errno_ret);
        if action == default {
            continue;
        }
        for name in &rule.names {
            text += &format!("rule {action:x} {name} {}", rule.args.len());
            for LinuxSeccompArg { index, value, value_two, op } in &rule.args {
                text += &format!(" {index} {} {value:x} {value_two:x}", operator(*op));
            }
            text += "\n";
        }
    }
    let mut child = Command::new(driver())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{:?}: {errors}\n{text}", output.status);
    let instruction = |bytes: &[u8]| libc::sock_filter {
        code: u16::from_le_bytes([bytes[0], bytes[1]]),
        jt: bytes[2],
        jf: bytes[3],
        k: u32::from_le_bytes([bytes[4], bytes[5], bytes[6], bytes[7]]),
    };
    Reference {
        program: output.stdout.chunks_exact(8).map(instruction).collect(),
        unknown: errors.lines().map(str::to_owned).collect(),
    }
}

/// Numbers of every kind: all that exist, and those at the borders.
fn numbers(audit: u32) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..480).chain([511, 1000, u32::MAX, X32 - 1]).collect();
    if audit == X86_64 {
        numbers.extend((0..480).chain(510..550).map(|number| X32 | number));
    }
    if audit == ARM {
        numbers.extend(0xf_0000..0xf_0008);
    }
    numbers
}

/// Compares two programs over many calls; gives how many it compared.
fn compare(filter: &LinuxSeccomp, native: Architecture, audits: &[u32], chance: &mut Chance) -> usize {
    let mut filter = filter.clone();
    // What libseccomp does not know it cannot be asked about.
    for rule in &mut filter.syscalls {
        rule.names.retain(|name| !UNKNOWN.contains(&name.as_str()));
    }
    let ours = compile(&filter, native).unwrap();
    let theirs = reference(&filter, audits);
    assert_eq!(
        theirs.unknown,
        BTreeSet::new(),
        "libseccomp does not know these, and UNKNOWN does not say so"
    );
    // libseccomp 2.5.4 forgets, in some filters, to load the number before it compares it (it loads it once a section).
    let sections = audits.iter().filter(|audit| **audit != X32_TOKEN).count();
    if theirs.program.iter().filter(|it| it.code == 0x20 && it.k == 0).count() < sections {
        return 0;
    }
    let mut compared = 0;
    let audits = audits.iter().filter(|audit| **audit != X32_TOKEN).copied();
    for audit in audits.chain([0x1234]) {
        for number in numbers(audit) {
            for round in 0..4 {
                let wide = audit == AARCH64 || audit == X86_64 && number < X32;
                let args = if round == 0 { [0; 6] } else { arguments(chance, &filter, wide) };
                let call = Call { audit, number, args };
                let (seen, _) = run(ours.instructions(), &call);
                let (expected, _) = run(&theirs.program, &call);
                let beside = audit == I386 && MULTIPLEXED.contains(&number) && args[0] > 0xffff;
                if seen == expected || seen == ENOSYS || beside {
                    compared += usize::from(seen == expected);
                    continue;
                }
                panic!("{call:x?}: {seen:#x}, libseccomp {expected:#x}\n{filter:#?}");
            }
        }
    }
    compared
}

/// libseccomp's name for x32, which shares the audit number of x86-64.
const X32_TOKEN: u32 = 0x4000_003e;
const PC: [u32; 3] = [X86_64, I386, X32_TOKEN];
const ARMS: [u32; 2] = [AARCH64, ARM];

#[test]
fn the_default_profile_is_libseccomps_under_every_set_of_capabilities() {
    let profile = Profile::docker_default();
    let kernel = Kernel { major: 6, minor: 18 };
    let all = [
        "SYS_ADMIN",
        "DAC_READ_SEARCH",
        "SYS_BOOT",
        "SYS_CHROOT",
        "SYS_MODULE",
        "SYS_PTRACE",
        "SYS_TIME",
        "SYS_RAWIO",
        "SYS_NICE",
        "SYSLOG",
        "BPF",
        "PERFMON",
        "SYS_PACCT",
        "SYS_TTY_CONFIG",
    ];
    let mut sets: Vec<Vec<&str>> = vec![vec![], vec!["SYS_CHROOT"], all.to_vec()];
    sets.extend(all.map(|cap| vec![cap]));
    let mut chance = Chance(1);
    for set in sets {
        let capabilities: Vec<String> = set.iter().map(|cap| format!("CAP_{cap}")).collect();
        let filter = profile.resolve(&capabilities, Architecture::X86_64, kernel);
        assert!(compare(&filter, Architecture::X86_64, &PC, &mut chance) > 4000);
        let filter = profile.resolve(&capabilities, Architecture::Aarch64, kernel);
        assert!(compare(&filter, Architecture::Aarch64, &ARMS, &mut chance) > 2000);
    }
}

/// Calls of many numbers and architectures; none is multiplexed on i386.
const NAMES: [&str; 24] = [
    "read",
    "write",
    "open",
    "openat",
    "openat2",
    "close",
    "ioctl",
    "fcntl",
    "fcntl64",
    "mmap",
    "mmap2",
    "clone",
    "clone3",
    "personality",
    "mount",
    "umount2",
    "ptrace",
    "kill",
    "prctl",
    "keyctl",
    "setns",
    "unshare",
    "time",
    "getrandom",
];

/// `wide`: with values of more than 32 bits, which mean something on 64-bit architectures only.
fn random(chance: &mut Chance, default: Action, wide: bool) -> Vec<LinuxSyscall> {
    let actions =
        [Action::Allow, Action::Errno, Action::KillProcess, Action::Trap, Action::Trace, Action::Log];
    let mut rules = Vec::new();
    for name in NAMES {
        // libseccomp refuses two actions for the same arguments: one action a name.
        let action = chance.pick(&actions);
        if action == default || chance.below(3) == 0 {
            continue;
        }
        // libseccomp 2.5.4 is no reference for several rules of one call that differ in what they compare: where one
        // matches half, it forgets the others. Those are left to the model (`semantics`).
        if chance.below(2) == 0 {
            let indexes = (0..6).filter(|_| chance.below(3) == 0).take(3).collect::<Vec<u32>>();
            let args = indexes.into_iter().map(|index| condition(chance, index, wide)).collect();
            rules.push(rule(&[name], action, args));
        } else {
            let index = chance.below(6) as u32;
            let count = 1 + chance.below(5);
            rules.extend((0..count).map(|_| rule(&[name], action, vec![condition(chance, index, false)])));
        }
    }
    rules
}

#[test]
fn random_filters_are_libseccomps() {
    let mut chance = Chance(2);
    let mut broken = 0;
    for round in 0..60 {
        let default = chance.pick(&[Action::Allow, Action::Errno, Action::KillThread, Action::Log]);
        let mut filter = filter(default, random(&mut chance, default, round % 2 == 0));
        if round % 3 == 0 {
            broken += usize::from(compare(&filter, Architecture::Aarch64, &[AARCH64], &mut chance) == 0);
            broken += usize::from(compare(&filter, Architecture::X86_64, &[X86_64], &mut chance) == 0);
            continue;
        }
        let beside = [Architecture::X86, Architecture::X32];
        let count = round % 3;
        filter.architectures = beside[..count].to_vec();
        broken += usize::from(compare(&filter, Architecture::X86_64, &PC[..=count], &mut chance) == 0);
    }
    assert!(broken < 20, "{broken} of 80 filters could not be compared");
}

#[test]
fn calls_that_hide_behind_others_on_i386_are_libseccomps() {
    let mut chance = Chance(3);
    let names = ["socket", "bind", "sendmsg", "accept4", "semop", "shmget", "msgrcv", "recvmmsg"];
    for default in [Action::Allow, Action::Errno] {
        let action = if default == Action::Allow { Action::Errno } else { Action::Allow };
        let rules =
            names.iter().filter(|_| chance.below(2) == 0).map(|name| rule(&[name], action, vec![])).collect();
        let mut filter = filter(default, rules);
        filter.architectures = vec![Architecture::X86];
        compare(&filter, Architecture::X86_64, &PC[..2], &mut chance);
    }
}

/// Both libraries must give every name the same number: a filter that allows one name at a time shows it.
#[test]
fn every_name_has_libseccomps_number() {
    let names: Vec<String> = Profile::docker_default()
        .resolve(&[], Architecture::X86_64, Kernel { major: 6, minor: 18 })
        .syscalls
        .into_iter()
        .flat_map(|rule| rule.names)
        .filter(|name| !UNKNOWN.contains(&name.as_str()))
        .collect();
    // Names in sixteen groups by the bits of their place: two names that were swapped differ in some bit.
    for bit in 0..9 {
        let chosen: Vec<&str> = names
            .iter()
            .enumerate()
            .filter(|(at, _)| at >> bit & 1 == 1)
            .map(|(_, name)| name.as_str())
            .collect();
        let filter = LinuxSeccomp {
            architectures: vec![Architecture::X86, Architecture::X32, Architecture::Arm],
            ..filter(Action::Trap, vec![rule(&chosen, Action::Allow, vec![])])
        };
        let mut chance = Chance(4);
        compare(&filter, Architecture::X86_64, &PC, &mut chance);
        compare(&filter, Architecture::Aarch64, &ARMS, &mut chance);
    }
}
