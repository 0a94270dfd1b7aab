//! Classic BPF, written from its end to its beginning: every jump goes forward, so that its target is known when the
//! jump is written, and what lies too far for the eight bits of a conditional jump gets a stepping stone.

use libc::sock_filter;

const LOAD: u16 = 0x20; // BPF_LD | BPF_W | BPF_ABS
const AND: u16 = 0x54; // BPF_ALU | BPF_AND | BPF_K
const JUMP: u16 = 0x05; // BPF_JMP | BPF_JA
const RETURN: u16 = 0x06; // BPF_RET | BPF_K

/// A comparison of the accumulator with a constant.
#[derive(Clone, Copy)]
pub(crate) enum Test {
    Equal = 0x15,
    GreaterOrEqual = 0x35,
}

/// Where an instruction stands, counted from the end: what was written earlier runs later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position(usize);

/// A program in the making.
#[derive(Default)]
pub(crate) struct Assembler {
    reversed: Vec<sock_filter>,
}

impl Assembler {
    /// Returns a value from the filter.
    pub(crate) fn ret(&mut self, value: u32) -> Position {
        // Another return of the same value will do, if it is near.
        let near = self.reversed.iter().enumerate().rev().take(200);
        let found =
            near.into_iter().find(|(_, instruction)| instruction.code == RETURN && instruction.k == value);
        match found {
            Some((index, _)) => Position(index),
            None => self.write(RETURN, 0, 0, value),
        }
    }

    /// Loads a word of `struct seccomp_data` and goes on at `next`.
    pub(crate) fn load(&mut self, offset: u32, next: Position) -> Position {
        self.step(next);
        self.write(LOAD, 0, 0, offset)
    }

    /// Masks the accumulator and goes on at `next`.
    pub(crate) fn and(&mut self, mask: u32, next: Position) -> Position {
        self.step(next);
        self.write(AND, 0, 0, mask)
    }

    /// Goes on at one of two places.
    pub(crate) fn branch(&mut self, test: Test, value: u32, yes: Position, no: Position) -> Position {
        if yes == no {
            return yes;
        }
        // One less for the first: the second may need a stepping stone between.
        let yes = self.within(254, yes);
        let no = self.within(255, no);
        let (yes, no) = (self.distance(yes), self.distance(no));
        self.write(test as u16, yes as u8, no as u8, value)
    }

    /// A binary search of the accumulator: each range begins at its number and goes on at its position; the first
    /// begins at the smallest number that can come.
    pub(crate) fn search(&mut self, ranges: &[(u32, Position)]) -> Position {
        match ranges {
            [(_, only)] => *only,
            [(_, before), (at, hit), (next, after)] if before == after && at + 1 == *next => {
                self.branch(Test::Equal, *at, *hit, *before)
            }
            _ => {
                let middle = ranges.len() / 2;
                let high = self.search(&ranges[middle..]);
                let low = self.search(&ranges[..middle]);
                self.branch(Test::GreaterOrEqual, ranges[middle].0, high, low)
            }
        }
    }

    /// The program, from its beginning.
    pub(crate) fn finish(mut self) -> Vec<sock_filter> {
        self.reversed.reverse();
        self.reversed
    }

    fn write(&mut self, code: u16, jt: u8, jf: u8, k: u32) -> Position {
        self.reversed.push(sock_filter { code, jt, jf, k });
        Position(self.reversed.len() - 1)
    }

    /// How many instructions lie between the next one written and a position.
    fn distance(&self, position: Position) -> usize {
        self.reversed.len() - position.0 - 1
    }

    /// Makes sure that the next instruction written is followed by a position.
    fn step(&mut self, position: Position) {
        if self.distance(position) != 0 {
            self.stone(position);
        }
    }

    /// A position within reach of a conditional jump that leads to this one.
    fn within(&mut self, reach: usize, position: Position) -> Position {
        if self.distance(position) <= reach { position } else { self.stone(position) }
    }

    fn stone(&mut self, position: Position) -> Position {
        match self.reversed[position.0] {
            sock_filter { code: RETURN, k, .. } => self.write(RETURN, 0, 0, k),
            _ => self.write(JUMP, 0, 0, self.distance(position) as u32),
        }
    }
}
