//! Conditions on arguments, as BPF: comparisons become ranges of values, so that thirty rules on one argument (Docker's
//! on the family of `socket`) are one binary search.

use crate::{
    LinuxSeccompArg, Operator,
    assembler::{Assembler, Position, Test},
};

/// How wide an architecture's arguments are; libseccomp compares as many bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Width {
    Bits32,
    Bits64,
}

/// One rule for a system call: when all conditions hold, the filter returns the action.
pub(crate) struct Rule<'a> {
    pub(crate) conditions: &'a [LinuxSeccompArg],
    pub(crate) action: u32,
}

/// Writes the rules of one number, the first that matches wins, and what happens when none does.
pub(crate) fn rules(
    assembler: &mut Assembler,
    rules: &[(u32, Rule<'_>)],
    default: u32,
    width: Width,
) -> Position {
    let mut otherwise = assembler.ret(default);
    let mut rest = rules;
    while let Some((_, last)) = rest.last() {
        let run = rest.iter().rev().take_while(|(_, rule)| same_argument(rule, last)).count();
        if run > 0 {
            let (before, group) = rest.split_at(rest.len() - run);
            otherwise = search(assembler, group, otherwise, width);
            rest = before;
        } else {
            let mut next = assembler.ret(last.action);
            for condition in last.conditions.iter().rev() {
                next = compare(assembler, condition, next, otherwise, width);
            }
            otherwise = next;
            rest = &rest[..rest.len() - 1];
        }
    }
    otherwise
}

/// Whether two rules can share a search: one condition each, on the same argument, and no mask.
fn same_argument(one: &Rule<'_>, other: &Rule<'_>) -> bool {
    match (one.conditions, other.conditions) {
        ([one], [other]) => {
            one.index == other.index && [one, other].iter().all(|c| c.op != Operator::MaskedEqual)
        }
        _ => false,
    }
}

fn search(
    assembler: &mut Assembler,
    group: &[(u32, Rule<'_>)],
    otherwise: Position,
    width: Width,
) -> Position {
    let mut ranges = Ranges::new(otherwise);
    for (_, rule) in group.iter().rev() {
        let action = assembler.ret(rule.action);
        for (from, to) in matching(&rule.conditions[0], width) {
            ranges.set(from, to, action);
        }
    }
    ranges.write(assembler, group[0].1.conditions[0].index, width)
}

fn compare(
    assembler: &mut Assembler,
    condition: &LinuxSeccompArg,
    yes: Position,
    no: Position,
    width: Width,
) -> Position {
    if condition.op == Operator::MaskedEqual {
        return compare_masked(assembler, condition, yes, no, width);
    }
    let mut ranges = Ranges::new(no);
    for (from, to) in matching(condition, width) {
        ranges.set(from, to, yes);
    }
    ranges.write(assembler, condition.index, width)
}

fn compare_masked(
    assembler: &mut Assembler,
    condition: &LinuxSeccompArg,
    yes: Position,
    no: Position,
    width: Width,
) -> Position {
    // Bits of the value outside the mask are ignored, as libseccomp ignores them.
    let (mask, value) = (condition.value, condition.value_two & condition.value);
    let mut next = yes;
    let words = [
        (low(condition.index), mask as u32, value as u32),
        (high(condition.index), (mask >> 32) as u32, (value >> 32) as u32),
    ];
    let count = if width == Width::Bits64 { 2 } else { 1 };
    for (offset, mask, value) in &words[..count] {
        if *mask != 0 {
            next = assembler.branch(Test::Equal, *value, next, no);
            next = assembler.and(*mask, next);
            next = assembler.load(*offset, next);
        }
    }
    next
}

/// The inclusive ranges of values for which a comparison holds.
fn matching(condition: &LinuxSeccompArg, width: Width) -> Vec<(u64, u64)> {
    let max = if width == Width::Bits64 { u64::MAX } else { u32::MAX.into() };
    let value = condition.value & max;
    let below = value.checked_sub(1).map(|end| (0, end));
    let above = value.checked_add(1).filter(|start| *start <= max).map(|start| (start, max));
    let ranges = match condition.op {
        Operator::Equal | Operator::MaskedEqual => [Some((value, value)), None],
        Operator::NotEqual => [below, above],
        Operator::Less => [below, None],
        Operator::LessOrEqual => [Some((0, value)), None],
        Operator::GreaterOrEqual => [Some((value, max)), None],
        Operator::Greater => [above, None],
    };
    ranges.into_iter().flatten().collect()
}

/// A partition of all values: each range begins at its number, the first at 0.
struct Ranges(Vec<(u64, Position)>);

impl Ranges {
    fn new(everything: Position) -> Self {
        Self(vec![(0, everything)])
    }

    fn at(&self, value: u64) -> Position {
        self.0[self.0.partition_point(|(start, _)| *start <= value) - 1].1
    }

    fn set(&mut self, from: u64, to: u64, position: Position) {
        let after = to.checked_add(1).map(|next| (next, self.at(next)));
        self.0.retain(|(start, _)| *start < from || *start > to);
        if let Some(after) = after
            && !self.0.iter().any(|(start, _)| *start == after.0)
        {
            self.0.push(after);
        }
        self.0.push((from, position));
        self.0.sort_unstable_by_key(|(start, _)| *start);
        self.0.dedup_by(|later, earlier| later.1 == earlier.1);
    }

    /// The filter sees an argument as two words: the high one is searched first, and the low one where a range begins
    /// or ends inside.
    fn write(&self, assembler: &mut Assembler, index: u32, width: Width) -> Position {
        if width == Width::Bits32 {
            return self.write_low(assembler, index, 0);
        }
        let mut starts: Vec<u32> = vec![0];
        for (start, _) in &self.0 {
            let word = (start >> 32) as u32;
            starts.push(word);
            if *start as u32 != 0 {
                starts.extend(word.checked_add(1));
            }
        }
        starts.sort_unstable();
        starts.dedup();
        let mut words: Vec<(u32, Position)> = Vec::new();
        for word in starts {
            let inside = self.0.iter().any(|(start, _)| (start >> 32) as u32 == word && *start as u32 != 0);
            let position =
                if inside { self.write_low(assembler, index, word) } else { self.at(u64::from(word) << 32) };
            words.push((word, position));
        }
        words.dedup_by(|later, earlier| later.1 == earlier.1);
        let root = assembler.search(&words);
        if words.len() == 1 { root } else { assembler.load(high(index), root) }
    }

    /// Searches the low word, the high one being known.
    fn write_low(&self, assembler: &mut Assembler, index: u32, word: u32) -> Position {
        let base = u64::from(word) << 32;
        let mut words = vec![(0, self.at(base))];
        let inside = self.0.iter().filter(|(start, _)| (start >> 32) as u32 == word && *start as u32 != 0);
        words.extend(inside.map(|(start, position)| (*start as u32, *position)));
        let root = assembler.search(&words);
        if words.len() == 1 { root } else { assembler.load(low(index), root) }
    }
}

/// Offset of an argument's low word in `struct seccomp_data` (both architectures are little-endian).
fn low(index: u32) -> u32 {
    16 + 8 * index
}

fn high(index: u32) -> u32 {
    low(index) + 4
}
