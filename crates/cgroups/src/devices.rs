//! Device rules: as lines for v1's devices.allow and devices.deny, and as a BPF program for v2, which has no files.
//! The program is generated here; loading it is the business of `bpf`.

use crate::{Error, LinuxDeviceCgroup, LinuxDeviceType, bpf::Instruction};

const READ: u32 = 2;
const WRITE: u32 = 4;
const MKNOD: u32 = 1;
const ANY: u32 = READ | WRITE | MKNOD;

/// The accesses of a rule, in the kernel's bits (`BPF_DEVCG_ACC_*`).
fn access(rule: &LinuxDeviceCgroup) -> Result<u32, Error> {
    let Some(letters) = rule.access.as_deref().filter(|letters| !letters.is_empty()) else { return Ok(ANY) };
    letters.chars().try_fold(0, |bits, letter| match letter {
        'r' => Ok(bits | READ),
        'w' => Ok(bits | WRITE),
        'm' => Ok(bits | MKNOD),
        _ => {
            let why = format!("access {letters:?} may hold only r, w and m");
            Err(Error::Unsupported { setting: "devices".to_owned(), why })
        }
    })
}

/// A device number of a rule; none for "any".
fn number(value: Option<i64>) -> Result<Option<u32>, Error> {
    match value {
        None | Some(..0) => Ok(None),
        Some(value) => u32::try_from(value).map(Some).map_err(|_| Error::Unsupported {
            setting: "devices".to_owned(),
            why: format!("{value} is not a device number"),
        }),
    }
}

/// v1: the file (`devices.allow` or `devices.deny`) and the line for each rule.
pub(crate) fn lines(rules: &[LinuxDeviceCgroup]) -> Result<Vec<(&'static str, String)>, Error> {
    let mut lines = Vec::new();
    for rule in rules {
        let file = if rule.allow { "devices.allow" } else { "devices.deny" };
        let (access, major, minor) = (access(rule)?, number(rule.major)?, number(rule.minor)?);
        let kinds = match rule.kind.unwrap_or(LinuxDeviceType::All) {
            // The kernel takes `a` for everything, whatever stands behind it.
            LinuxDeviceType::All if access == ANY && major.is_none() && minor.is_none() => {
                lines.push((file, "a".to_owned()));
                continue;
            }
            LinuxDeviceType::All => "bc",
            LinuxDeviceType::Block => "b",
            LinuxDeviceType::Character => "c",
        };
        let number = |number: Option<u32>| number.map_or_else(|| "*".to_owned(), |number| number.to_string());
        let letters =
            [(READ, 'r'), (WRITE, 'w'), (MKNOD, 'm')].into_iter().filter(|(bit, _)| access & bit != 0);
        let letters: String = letters.map(|(_, letter)| letter).collect();
        for kind in kinds.chars() {
            lines.push((file, format!("{kind} {}:{} {letters}", number(major), number(minor))));
        }
    }
    Ok(lines)
}

// Registers of the program: the verdict, the context, and what is kept of it.
const VERDICT: u8 = 0;
const CONTEXT: u8 = 1;
const KIND: u8 = 2;
/// The accesses asked for that no rule has granted yet.
const WANTED: u8 = 3;
const MAJOR: u8 = 4;
const MINOR: u8 = 5;
const SCRATCH: u8 = 6;

/// v2: a `BPF_PROG_TYPE_CGROUP_DEVICE` program that decides as the rules do in v1, where each rule changes what those
/// before it said. Read from the last one backwards: a rule that allows grants its accesses, a rule that denies
/// refuses if any of its accesses is still wanted. What no rule speaks of is allowed, as it is in a new v1 cgroup.
pub(crate) fn program(rules: &[LinuxDeviceCgroup]) -> Result<Vec<Instruction>, Error> {
    // struct bpf_cgroup_dev_ctx: access << 16 | type, major, minor.
    let mut program = vec![
        Instruction::load_word(KIND, CONTEXT, 0),
        Instruction::copy(WANTED, KIND),
        Instruction::shift_right(WANTED, 16),
        Instruction::and(KIND, 0xffff),
        Instruction::load_word(MAJOR, CONTEXT, 4),
        Instruction::load_word(MINOR, CONTEXT, 8),
    ];
    for rule in rules.iter().rev() {
        let access = access(rule)?;
        let mut conditions = Vec::new();
        match rule.kind.unwrap_or(LinuxDeviceType::All) {
            LinuxDeviceType::All => {}
            LinuxDeviceType::Block => conditions.push((KIND, 1)),
            LinuxDeviceType::Character => conditions.push((KIND, 2)),
        }
        conditions.extend(number(rule.major)?.map(|major| (MAJOR, major)));
        conditions.extend(number(rule.minor)?.map(|minor| (MINOR, minor)));
        let verdict = [Instruction::set(VERDICT, i32::from(rule.allow)), Instruction::exit()];
        let mut body = Vec::new();
        if access != ANY {
            if rule.allow {
                body.push(Instruction::and(WANTED, !access));
                body.push(Instruction::jump_unless_equal(WANTED, 0, verdict.len()));
            } else {
                body.push(Instruction::copy(SCRATCH, WANTED));
                body.push(Instruction::and(SCRATCH, access));
                body.push(Instruction::jump_if_equal(SCRATCH, 0, verdict.len()));
            }
        }
        body.extend(verdict);
        // Nothing before a rule that speaks of every device and access can be reached: the verifier wants it gone.
        let last = conditions.is_empty() && access == ANY;
        for (index, (register, value)) in conditions.iter().enumerate() {
            let rest = conditions.len() - index - 1;
            program.push(Instruction::jump_unless_equal(*register, *value, rest + body.len()));
        }
        program.append(&mut body);
        if last {
            return Ok(program);
        }
    }
    program.extend([Instruction::set(VERDICT, 1), Instruction::exit()]);
    Ok(program)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(
        allow: bool,
        kind: Option<LinuxDeviceType>,
        numbers: (i64, i64),
        access: &str,
    ) -> LinuxDeviceCgroup {
        let number = |number: i64| (number >= 0).then_some(number);
        let access = Some(access.to_owned());
        LinuxDeviceCgroup { allow, kind, major: number(numbers.0), minor: number(numbers.1), access }
    }

    fn docker_like() -> Vec<LinuxDeviceCgroup> {
        let character = Some(LinuxDeviceType::Character);
        vec![
            rule(false, None, (-1, -1), "rwm"),
            rule(true, character, (-1, -1), "m"),
            rule(true, Some(LinuxDeviceType::Block), (-1, -1), "m"),
            rule(true, character, (1, 3), "rwm"),
            rule(true, character, (1, 5), "r"),
            rule(true, character, (136, -1), "rwm"),
            rule(false, character, (136, 9), "w"),
        ]
    }

    /// What the rules mean, straight from v1's documentation: each changes the set of what is allowed.
    fn meaning(rules: &[LinuxDeviceCgroup], kind: u32, major: u32, minor: u32, wanted: u32) -> bool {
        let mut allowed = ANY;
        for rule in rules {
            let kind_fits = match rule.kind {
                None | Some(LinuxDeviceType::All) => true,
                Some(LinuxDeviceType::Block) => kind == 1,
                Some(LinuxDeviceType::Character) => kind == 2,
            };
            let fits =
                |number: Option<i64>, value: u32| number.is_none_or(|number| number == i64::from(value));
            if kind_fits && fits(rule.major, major) && fits(rule.minor, minor) {
                let access = access(rule).unwrap();
                allowed = if rule.allow { allowed | access } else { allowed & !access };
            }
        }
        allowed & wanted == wanted
    }

    /// An interpreter of the few instructions that the generator knows.
    fn run(program: &[Instruction], kind: u32, major: u32, minor: u32, wanted: u32) -> bool {
        let context = [wanted << 16 | kind, major, minor];
        let mut registers = [0u64; 11];
        let mut at = 0usize;
        loop {
            let Instruction { code, registers: operands, offset, immediate } = program[at];
            let (destination, source) = (usize::from(operands & 15), usize::from(operands >> 4));
            at += 1;
            let jump = |taken: bool| if taken { usize::try_from(offset).unwrap() } else { 0 };
            let immediate = immediate.cast_unsigned();
            match code {
                0x61 => registers[destination] = context[usize::try_from(offset).unwrap() / 4].into(),
                0xbc => registers[destination] = u64::from(registers[source] as u32),
                0xb4 => registers[destination] = immediate.into(),
                0x54 => registers[destination] = u64::from(registers[destination] as u32 & immediate),
                0x74 => registers[destination] = u64::from(registers[destination] as u32 >> immediate),
                0x16 => at += jump(registers[destination] as u32 == immediate),
                0x56 => at += jump(registers[destination] as u32 != immediate),
                0x95 => return registers[0] != 0,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    #[test]
    fn the_program_decides_as_the_rules_do_for_every_device_and_access() {
        let block = Some(LinuxDeviceType::Block);
        let more = [
            vec![],
            vec![rule(false, block, (8, -1), "w"), rule(true, None, (8, 1), "")],
            vec![
                rule(true, block, (8, 0), "r"),
                rule(false, None, (-1, -1), "rwm"),
                rule(true, block, (8, 0), "r"),
                rule(true, block, (8, 0), "w"),
            ],
            docker_like(),
        ];
        for rules in more {
            let program = program(&rules).unwrap();
            for kind in [1, 2] {
                for (major, minor) in [(1, 3), (1, 5), (8, 0), (8, 1), (136, 0), (136, 9), (5, 1)] {
                    for wanted in 1..=ANY {
                        let seen = run(&program, kind, major, minor, wanted);
                        let expected = meaning(&rules, kind, major, minor, wanted);
                        assert_eq!(seen, expected, "{rules:?} {kind} {major}:{minor} {wanted}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_lines_of_v1_name_every_kind_that_is_not_everything() {
        let seen = lines(&docker_like()[..4]).unwrap();
        let expected = [
            ("devices.deny", "a"),
            ("devices.allow", "c *:* m"),
            ("devices.allow", "b *:* m"),
            ("devices.allow", "c 1:3 rwm"),
        ];
        assert_eq!(seen, expected.map(|(file, line)| (file, line.to_owned())));
        let partly = lines(&[rule(false, None, (-1, -1), "w")]).unwrap();
        assert_eq!(partly, [("devices.deny", "b *:* w".to_owned()), ("devices.deny", "c *:* w".to_owned())]);
        assert!(lines(&[rule(true, None, (-1, -1), "rx")]).is_err());
    }
}
