//! An interpreter of classic BPF over `struct seccomp_data`, a source of repeatable chance, and filters made with it.

use kapsel_seccomp::{Action, LinuxSeccomp, LinuxSeccompArg, LinuxSyscall, Operator};

pub const X86_64: u32 = 0xc000_003e;
pub const I386: u32 = 0x4000_0003;
pub const AARCH64: u32 = 0xc000_00b7;
pub const ARM: u32 = 0x4000_0028;
pub const X32: u32 = 0x4000_0000;

/// One system call as a filter sees it.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    pub audit: u32,
    pub number: u32,
    pub args: [u64; 6],
}

impl Call {
    fn word(&self, offset: u32) -> u32 {
        match offset {
            0 => self.number,
            4 => self.audit,
            16..64 if offset.is_multiple_of(4) => {
                let arg = self.args[(offset as usize - 16) / 8];
                if offset.is_multiple_of(8) { arg as u32 } else { (arg >> 32) as u32 }
            }
            _ => panic!("a filter reads at {offset}"),
        }
    }
}

/// What a filter returns, and how many instructions it took.
pub fn run(program: &[libc::sock_filter], call: &Call) -> (u32, usize) {
    let (mut accumulator, mut at) = (0u32, 0usize);
    for steps in 1.. {
        let libc::sock_filter { code, jt, jf, k } = program[at];
        at += 1;
        let mut branch = |holds: bool| at += usize::from(if holds { jt } else { jf });
        match code {
            0x20 => accumulator = call.word(k),
            0x54 => accumulator &= k,
            0x05 => at += k as usize,
            0x15 => branch(accumulator == k),
            0x25 => branch(accumulator > k),
            0x35 => branch(accumulator >= k),
            0x45 => branch(accumulator & k != 0),
            0x06 => return (k, steps),
            other => panic!("unknown instruction {other:#x}"),
        }
    }
    unreachable!()
}

/// xorshift64*: the same numbers in every run.
pub struct Chance(pub u64);

impl Chance {
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() >> 11) as usize % limit
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }

    /// A value of the kind that comparisons get wrong.
    pub fn value(&mut self, wide: bool) -> u64 {
        let value = match self.below(6) {
            0 => self.below(4) as u64,
            1 => u64::from(u32::MAX) - self.below(3) as u64,
            2 => self.number(),
            3 => 1 << self.below(64),
            4 => u64::MAX - self.below(3) as u64,
            _ => self.number() & 0xf_0000_000f,
        };
        if wide { value } else { value & u64::from(u32::MAX) }
    }
}

pub const OPERATORS: [Operator; 7] = [
    Operator::NotEqual,
    Operator::Less,
    Operator::LessOrEqual,
    Operator::Equal,
    Operator::GreaterOrEqual,
    Operator::Greater,
    Operator::MaskedEqual,
];

/// A condition on one argument.
pub fn condition(chance: &mut Chance, index: u32, wide: bool) -> LinuxSeccompArg {
    let (value, op) = (chance.value(wide), chance.pick(&OPERATORS));
    LinuxSeccompArg { index, value, value_two: chance.value(wide) & value, op }
}

/// A filter that allows nothing; its rules are the caller's.
pub fn filter(default_action: Action, syscalls: Vec<LinuxSyscall>) -> LinuxSeccomp {
    LinuxSeccomp {
        default_action,
        default_errno_ret: None,
        architectures: Vec::new(),
        flags: Vec::new(),
        listener_path: None,
        listener_metadata: None,
        syscalls,
    }
}

pub fn rule(names: &[&str], action: Action, args: Vec<LinuxSeccompArg>) -> LinuxSyscall {
    LinuxSyscall {
        names: names.iter().map(|name| (*name).to_owned()).collect(),
        action,
        errno_ret: None,
        args,
    }
}

/// Arguments near the values that a filter's conditions speak of.
pub fn arguments(chance: &mut Chance, filter: &LinuxSeccomp, wide: bool) -> [u64; 6] {
    let values: Vec<u64> = filter
        .syscalls
        .iter()
        .flat_map(|rule| &rule.args)
        .flat_map(|condition| [condition.value, condition.value_two])
        .collect();
    std::array::from_fn(|_| {
        let value = match chance.below(3) {
            0 if !values.is_empty() => {
                let near = chance.pick(&values).wrapping_add(chance.below(3) as u64).wrapping_sub(1);
                if chance.below(4) == 0 { near ^ 1 << chance.below(64) } else { near }
            }
            _ => chance.value(wide),
        };
        if wide { value } else { value & u64::from(u32::MAX) }
    })
}
