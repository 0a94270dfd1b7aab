//! Filters decide as their rules say: random ones against the model, and each promise of the compiler by itself.

use kapsel_seccomp::{
    Action, Architecture, Kernel, LinuxSeccompArg, LinuxSyscall, Operator, Profile, compile,
};

use crate::{
    machine::{AARCH64, ARM, Call, Chance, I386, X32, X86_64, arguments, condition, filter, rule, run},
    model,
};

/// Some calls of x86-64, dense and sparse.
const CALLS: [(&str, u32); 12] = [
    ("read", 0),
    ("write", 1),
    ("open", 2),
    ("close", 3),
    ("ioctl", 16),
    ("socket", 41),
    ("clone", 56),
    ("personality", 135),
    ("mount", 165),
    ("openat", 257),
    ("io_uring_setup", 425),
    ("mseal", 462),
];

const ALLOW: u32 = 0x7fff_0000;
const EPERM: u32 = 0x0005_0001;
const ENOSYS: u32 = 0x0005_0026;

fn call(number: u32, args: [u64; 6]) -> Call {
    Call { audit: X86_64, number, args }
}

#[test]
fn random_filters_decide_as_their_rules_say() {
    let actions = [
        Action::Allow,
        Action::Errno,
        Action::KillProcess,
        Action::KillThread,
        Action::Trap,
        Action::Trace,
        Action::Log,
        Action::Notify,
    ];
    let mut chance = Chance(0x5eed);
    for _ in 0..400 {
        let default = chance.pick(&actions);
        let rules: Vec<LinuxSyscall> = (0..1 + chance.below(60))
            .map(|_| {
                let name = chance.pick(&CALLS).0;
                let count = chance.below(4);
                let args = (0..count).map(|_| {
                    let index = chance.below(6) as u32;
                    condition(&mut chance, index, true)
                });
                let args: Vec<_> = args.collect();
                let mut rule = rule(&[name], chance.pick(&actions), args);
                let gives_errno = matches!(rule.action, Action::Errno | Action::Trace);
                rule.errno_ret = (gives_errno && chance.below(2) == 0).then_some(13);
                rule
            })
            .collect();
        let last = rules.iter().flat_map(|rule| &rule.names).filter_map(|name| number(name)).max();
        let filter = filter(default, rules);
        let program = compile(&filter, Architecture::X86_64).unwrap();
        for _ in 0..300 {
            let (name, number) = chance.pick(&CALLS);
            if Some(number) > last {
                continue;
            }
            let args = arguments(&mut chance, &filter, true);
            let (seen, _) = run(program.instructions(), &call(number, args));
            assert_eq!(seen, model::decide(&filter, name, &args), "{name} {args:x?} {filter:#?}");
        }
    }
}

fn number(name: &str) -> Option<u32> {
    CALLS.iter().find(|(found, _)| *found == name).map(|(_, number)| *number)
}

#[test]
fn a_filter_longer_than_a_conditional_jump_reaches_decides_the_same() {
    let masks = |name: &str, action: Action| -> Vec<LinuxSyscall> {
        let condition =
            |value| LinuxSeccompArg { index: 1, value, value_two: value, op: Operator::MaskedEqual };
        (0..30)
            .flat_map(|bit| [3 << bit, 5 << bit, 3 << (bit + 32), 5 << (bit + 32)])
            .map(|mask| rule(&[name], action, vec![condition(mask)]))
            .collect()
    };
    let mut rules = masks("ioctl", Action::Trap);
    rules.extend(masks("openat", Action::Allow));
    rules.push(rule(&["mseal", "read"], Action::Allow, vec![]));
    let filter = filter(Action::Errno, rules);
    let program = compile(&filter, Architecture::X86_64).unwrap();
    assert!(program.instructions().iter().any(|it| it.code == 0x05), "no jump was too far");
    let mut chance = Chance(7);
    for (name, number) in CALLS {
        for _ in 0..100 {
            let args = [0, chance.number() & chance.number() & chance.number(), 0, 0, 0, 0];
            let (seen, _) = run(program.instructions(), &call(number, args));
            assert_eq!(seen, model::decide(&filter, name, &args), "{name} {args:x?}");
        }
    }
}

#[test]
fn a_filter_longer_than_the_kernel_takes_is_refused() {
    let condition = |value| LinuxSeccompArg { index: 1, value, value_two: value, op: Operator::MaskedEqual };
    let rules =
        (0..1000).map(|value| rule(&["ioctl"], Action::Trap, vec![condition(value << 30 | 5)])).collect();
    let error = compile(&filter(Action::Allow, rules), Architecture::X86_64).unwrap_err();
    assert_eq!(error.code(), "SECCOMP_PROFILE_UNSUPPORTED");
}

#[test]
fn a_call_newer_than_the_profile_does_not_exist() {
    let strict = filter(
        Action::Errno,
        vec![rule(&["openat"], Action::Allow, vec![]), rule(&["mount"], Action::Errno, vec![])],
    );
    let program = compile(&strict, Architecture::X86_64).unwrap();
    let seen = |number| run(program.instructions(), &call(number, [0; 6])).0;
    assert_eq!(
        (seen(165), seen(257), seen(258), seen(462), seen(X32 - 1)),
        (EPERM, ALLOW, ENOSYS, ENOSYS, ENOSYS)
    );
    let lenient = filter(Action::Allow, vec![rule(&["openat"], Action::Errno, vec![])]);
    let program = compile(&lenient, Architecture::X86_64).unwrap();
    assert_eq!(run(program.instructions(), &call(462, [0; 6])).0, ALLOW);
}

#[test]
fn a_foreign_architecture_is_killed() {
    let program = compile(&filter(Action::Allow, vec![]), Architecture::X86_64).unwrap();
    for (audit, number) in [(I386, 0), (AARCH64, 0), (X86_64, X32), (X86_64, X32 | 500)] {
        let call = Call { audit, number, args: [0; 6] };
        assert_eq!(run(program.instructions(), &call).0, 0, "{call:x?}");
    }
}

#[test]
fn a_refused_socket_is_refused_behind_socketcall_and_ipc_too() {
    let family = LinuxSeccompArg { index: 0, value: 38, value_two: 0, op: Operator::Equal };
    let mut deny = filter(
        Action::Allow,
        vec![
            rule(&["socket"], Action::Errno, vec![family.clone()]),
            rule(&["shmget", "bind"], Action::Errno, vec![]),
        ],
    );
    deny.architectures = vec![Architecture::X86];
    let program = compile(&deny, Architecture::X86_64).unwrap();
    let seen = |number, first| {
        run(program.instructions(), &Call { audit: I386, number, args: [first, 0, 0, 0, 0, 0] }).0
    };
    // socketcall(SYS_SOCKET): the family cannot be seen.
    assert_eq!((seen(102, 1), seen(102, 2), seen(102, 3)), (EPERM, EPERM, ALLOW));
    assert_eq!((seen(359, 38), seen(359, 2)), (EPERM, ALLOW));
    // ipc(SHMGET), and the same with a version in the high half, which the kernel ignores.
    assert_eq!((seen(117, 23), seen(117, 1 << 16 | 23), seen(117, 21)), (EPERM, EPERM, ALLOW));
    // The other way round nothing is let in that cannot be checked.
    let mut allow = filter(Action::Errno, vec![rule(&["socket"], Action::Allow, vec![family])]);
    allow.architectures = vec![Architecture::X86];
    let program = compile(&allow, Architecture::X86_64).unwrap();
    let call = Call { audit: I386, number: 102, args: [1, 0, 0, 0, 0, 0] };
    assert_eq!(run(program.instructions(), &call).0, EPERM);
}

#[test]
fn the_arms_are_told_apart_and_have_their_private_calls() {
    let kernel = Kernel { major: 6, minor: 18 };
    let filter = Profile::docker_default().resolve(&[], Architecture::Aarch64, kernel);
    let program = compile(&filter, Architecture::Aarch64).unwrap();
    let seen = |audit, number| run(program.instructions(), &Call { audit, number, args: [0; 6] }).0;
    assert_eq!((seen(AARCH64, 63), seen(AARCH64, 40)), (ALLOW, EPERM), "read and mount");
    assert_eq!((seen(ARM, 3), seen(ARM, 21)), (ALLOW, EPERM), "read and mount");
    // set_tls and cacheflush; usr26; a call of the future; nothing of x86.
    assert_eq!((seen(ARM, 0xf_0005), seen(ARM, 0xf_0002), seen(ARM, 0xf_0003)), (ALLOW, ALLOW, EPERM));
    assert_eq!((seen(ARM, 500), seen(AARCH64, 500), seen(X86_64, 0)), (ENOSYS, ENOSYS, 0));
}

#[test]
fn a_frequent_call_takes_few_instructions() {
    let kernel = Kernel { major: 6, minor: 18 };
    let filter = Profile::docker_default().resolve(&[], Architecture::X86_64, kernel);
    let program = compile(&filter, Architecture::X86_64).unwrap();
    for number in [0, 1, 3, 202, 232, 257, 281] {
        let (seen, steps) = run(program.instructions(), &call(number, [0; 6]));
        assert_eq!(seen, ALLOW);
        assert!(steps <= 14, "{number}: {steps} steps of {}", program.instructions().len());
    }
}

#[test]
fn mistakes_are_told() {
    let code = |filter| compile(&filter, Architecture::X86_64).unwrap_err().code();
    let sixth = LinuxSeccompArg { index: 6, value: 0, value_two: 0, op: Operator::Equal };
    assert_eq!(
        code(filter(Action::Allow, vec![rule(&["read"], Action::Errno, vec![sixth])])),
        "SECCOMP_PROFILE_INVALID"
    );
    assert_eq!(
        code(filter(Action::Allow, vec![rule(&[], Action::Errno, vec![])])),
        "SECCOMP_PROFILE_INVALID"
    );
    let mut told = filter(Action::Allow, vec![]);
    told.listener_metadata = Some("words".to_owned());
    assert_eq!(code(told), "SECCOMP_PROFILE_INVALID", "nobody listens to them");
    let mut flagged = filter(Action::Allow, vec![]);
    flagged.flags = vec!["SECCOMP_FILTER_FLAG_TOMORROW".to_owned()];
    assert_eq!(code(flagged), "SECCOMP_PROFILE_UNSUPPORTED");
    let unknown = filter(Action::Errno, vec![rule(&["no_such_call"], Action::Allow, vec![])]);
    assert!(compile(&unknown, Architecture::X86_64).is_ok(), "a name that nobody knows is ignored");
}

#[test]
fn an_errno_belongs_to_the_two_actions_that_have_one_and_to_their_range() {
    let compiles = |action, errno| {
        let mut filter = filter(action, vec![]);
        filter.default_errno_ret = Some(errno);
        let mut by_rule = rule(&["read"], action, vec![]);
        by_rule.errno_ret = Some(errno);
        let ruled = crate::machine::filter(Action::Allow, vec![by_rule]);
        [filter, ruled].map(|filter| compile(&filter, Architecture::X86_64).is_ok())
    };
    assert_eq!(compiles(Action::Errno, 4095), [true; 2]);
    assert_eq!(compiles(Action::Errno, 4096), [false; 2]);
    assert_eq!(compiles(Action::Trace, 0xffff), [true; 2]);
    assert_eq!(compiles(Action::Trace, 0x1_0000), [false; 2]);
    for action in [
        Action::Allow,
        Action::Kill,
        Action::KillThread,
        Action::KillProcess,
        Action::Trap,
        Action::Log,
        Action::Notify,
    ] {
        assert_eq!(compiles(action, 1), [false; 2], "{action:?}");
    }
}

#[test]
fn flags_are_the_kernels() {
    let flags = |action, names: &[&str]| {
        let mut filter = filter(Action::Allow, vec![rule(&["getsid"], action, vec![])]);
        filter.flags = names.iter().map(|name| format!("SECCOMP_FILTER_FLAG_{name}")).collect();
        compile(&filter, Architecture::X86_64).unwrap().flags()
    };
    let all = ["TSYNC", "LOG", "SPEC_ALLOW", "WAIT_KILLABLE_RECV"];
    assert_eq!(flags(Action::Errno, &all), 2 | 4, "nobody waits, so nobody can be killed while waiting");
    assert_eq!(flags(Action::Notify, &all), 2 | 4 | 8 | 32);
    assert_eq!(flags(Action::Notify, &[]), 8);
    let by_default = compile(&filter(Action::Notify, vec![]), Architecture::X86_64).unwrap();
    assert!(by_default.notifies());
}

#[test]
fn every_name_of_the_specification_is_known_and_no_other() {
    let parses = |field: &str, word: &str| {
        let mut profile = serde_json::json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "architectures": ["SCMP_ARCH_X86"],
            "syscalls": [{"names": ["read"], "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 0, "value": 1, "op": "SCMP_CMP_EQ"}]}],
        });
        *profile.pointer_mut(field).unwrap() = serde_json::json!(word);
        serde_json::from_value::<kapsel_seccomp::LinuxSeccomp>(profile).is_ok()
    };
    let known: [(&str, &str, &[&str]); 3] = [
        (
            "/defaultAction",
            "SCMP_ACT_",
            &["KILL", "KILL_PROCESS", "KILL_THREAD", "TRAP", "ERRNO", "TRACE", "ALLOW", "LOG", "NOTIFY"],
        ),
        (
            "/architectures/0",
            "SCMP_ARCH_",
            &[
                "X86",
                "X86_64",
                "X32",
                "ARM",
                "AARCH64",
                "LOONGARCH64",
                "M68K",
                "MIPS",
                "MIPS64",
                "MIPS64N32",
                "MIPSEL",
                "MIPSEL64",
                "MIPSEL64N32",
                "PPC",
                "PPC64",
                "PPC64LE",
                "S390",
                "S390X",
                "PARISC",
                "PARISC64",
                "RISCV64",
                "SH",
                "SHEB",
                "NATIVE",
            ],
        ),
        ("/syscalls/0/args/0/op", "SCMP_CMP_", &["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"]),
    ];
    for (field, prefix, words) in known {
        for word in words {
            assert!(parses(field, &format!("{prefix}{word}")), "{prefix}{word}");
        }
        for word in ["TOMORROW", "", "allow"] {
            assert!(!parses(field, &format!("{prefix}{word}")), "{prefix}{word}");
        }
    }
}
