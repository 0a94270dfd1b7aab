//! What is no profile is an error; what is one compiles to a program that always ends, or is refused. No panic, no hang, no
//! more memory than the text deserves.

mod chance;

use chance::{Chance, Counting, cases, change, mutate};
use kapsel_seccomp::{Architecture, Kernel, LinuxSeccomp, Profile, Program, Source, compile};
use serde_json::{Value, json};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const KERNEL: Kernel = Kernel { major: 6, minor: 18 };
/// The longest text here has some 40 KiB.
const MOST: usize = 8 << 20;

/// Words that profiles are made of.
const WORDS: [&str; 34] = [
    "defaultAction",
    "defaultErrnoRet",
    "architectures",
    "archMap",
    "syscalls",
    "names",
    "name",
    "action",
    "errnoRet",
    "args",
    "index",
    "value",
    "valueTwo",
    "op",
    "flags",
    "includes",
    "excludes",
    "minKernel",
    "SCMP_ACT_ALLOW",
    "SCMP_ACT_ERRNO",
    "SCMP_ACT_NOTIFY",
    "SCMP_ACT_TRACE",
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_ARM",
    "SCMP_CMP_MASKED_EQ",
    "SCMP_CMP_NE",
    "SCMP_CMP_LT",
    "SECCOMP_FILTER_FLAG_LOG",
    "socket",
    "ipc",
    "mseal",
    "CAP_SYS_ADMIN",
    "4.8",
];

const DOCKER: &str = include_str!("../../data/docker-default.json");

/// A small profile that uses everything.
fn small() -> Value {
    json!({
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 38,
        "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"],
        "flags": ["SECCOMP_FILTER_FLAG_LOG"],
        "listenerPath": "/s", "listenerMetadata": "m",
        "syscalls": [
            {"names": ["read", "socket", "semop"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["clone", "ioctl"], "action": "SCMP_ACT_TRACE", "errnoRet": 7, "args": [
                {"index": 0, "value": 2_114_060_288, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ"},
                {"index": 5, "value": u64::MAX, "op": "SCMP_CMP_GE"}]},
            {"names": ["clone"], "action": "SCMP_ACT_KILL", "args": [
                {"index": 0, "value": 1, "op": "SCMP_CMP_NE"}, {"index": 0, "value": 9, "op": "SCMP_CMP_LT"}]},
        ],
    })
}

fn document(chance: &mut Chance) -> Value {
    match chance.below(8) {
        0 => serde_json::from_str(DOCKER).unwrap(),
        _ => small(),
    }
}

/// Every jump of the program leads forward and into it, and its last instruction returns: it ends.
fn check(program: &Program) {
    let instructions = program.instructions();
    assert!((1..=4096).contains(&instructions.len()));
    for (at, instruction) in instructions.iter().enumerate() {
        let rest = instructions.len() - at - 1;
        let farthest = match instruction.code {
            0x20 => {
                assert!(instruction.k < 64 && instruction.k.is_multiple_of(4), "a load outside the call");
                1
            }
            0x54 => 1,
            0x05 => instruction.k as usize + 1,
            0x15 | 0x35 => 1 + usize::from(instruction.jt.max(instruction.jf)),
            0x06 => 0,
            code => panic!("the instruction {code:#x}"),
        };
        assert!(farthest <= rest, "the instruction {at} leads out of the program");
    }
}

fn try_text(text: &str) {
    let capabilities = ["CAP_SYS_ADMIN".to_owned()];
    for architecture in [Architecture::X86_64, Architecture::Aarch64] {
        if let Ok(profile) = Profile::parse(text)
            && let Ok(program) = compile(&profile.resolve(&capabilities, architecture, KERNEL), architecture)
        {
            check(&program);
        }
        let by_cache = Program::cached(None, Source::Json(text), &capabilities, architecture, KERNEL);
        by_cache.iter().for_each(check);
        if let Ok(filter) = serde_json::from_str::<LinuxSeccomp>(text)
            && let Ok(program) = compile(&filter, architecture)
        {
            check(&program);
            let again: LinuxSeccomp = serde_json::from_str(&serde_json::to_string(&filter).unwrap()).unwrap();
            assert_eq!(filter, again, "what was written is not what is read");
        }
    }
}

#[test]
fn any_text_is_a_profile_or_an_error() {
    cases(2000, MOST, |chance| {
        let mut text = document(chance).to_string().into_bytes();
        mutate(chance, &mut text, &WORDS);
        try_text(&String::from_utf8_lossy(&text));
    });
}

#[test]
fn any_document_is_a_profile_or_an_error() {
    let mut accepted = 0;
    cases(4000, MOST, |chance| {
        let mut document = document(chance);
        change(chance, &mut document, &WORDS);
        accepted += u32::from(Profile::parse(&document.to_string()).is_ok());
        try_text(&document.to_string());
    });
    assert!(
        accepted > 200 || std::env::var_os("KAPSEL_SEED").is_some(),
        "hardly one of them was a profile: {accepted}"
    );
}

#[test]
fn many_rules_take_little_more_than_their_text() {
    let rule = |at: u64| {
        json!({"names": ["ioctl", "clone", "socket"], "action": "SCMP_ACT_ERRNO", "errnoRet": at % 4000,
            "args": [{"index": at % 6, "value": at, "valueTwo": at, "op": "SCMP_CMP_MASKED_EQ"}]})
    };
    let rules: Vec<Value> = (0..20_000).map(rule).collect();
    let text = json!({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": rules}).to_string();
    cases(1, 40 * text.len(), |_| {
        let profile = Profile::parse(&text).unwrap();
        let error = compile(&profile.resolve(&[], Architecture::X86_64, KERNEL), Architecture::X86_64);
        assert!(error.unwrap_err().to_string().contains("4096"));
    });
}
