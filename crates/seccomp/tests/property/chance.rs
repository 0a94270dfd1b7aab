//! Property tests without a library: repeatable chance, mutations of documents, and a budget of time and memory.
//!
//! Every case has a seed of its own, which is printed where the case fails: `KAPSEL_SEED=… cargo test …` runs that case
//! alone. The program that uses this has [`Counting`] as its allocator.

#![allow(
    dead_code,
    clippy::print_stderr,
    reason = "each test program uses its own part; a seed goes to who reads"
)]

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{RecvTimeoutError, channel},
    },
    thread,
    time::Duration,
};

use serde_json::{Value, json};

/// xorshift64*: the same numbers in every run.
pub struct Chance(u64);

impl Chance {
    pub fn number(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    pub fn below(&mut self, limit: usize) -> usize {
        (self.number() >> 11) as usize % limit.max(1)
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len())]
    }
}

thread_local! {
    static LIVE: Cell<usize> = const { Cell::new(0) };
    static PEAK: Cell<usize> = const { Cell::new(0) };
}

/// The system's allocator, with a count of what each thread has in use.
pub struct Counting;

// SAFETY: the system's allocator does the work; the counters are beside it and allocate nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.get().wrapping_add(layout.size());
        LIVE.set(live);
        PEAK.set(PEAK.get().max(live));
        // SAFETY: the caller keeps the allocator's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        LIVE.set(LIVE.get().wrapping_sub(layout.size()));
        // SAFETY: as above.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// A case that takes so long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `count` cases, each with chance of its own. None may panic, hang, or have more than `most` bytes in use at once.
pub fn cases(count: u64, most: usize, mut case: impl FnMut(&mut Chance)) {
    let chosen = std::env::var("KAPSEL_SEED").ok().map(|seed| seed.parse().expect("KAPSEL_SEED is a number"));
    let now = Arc::new(AtomicU64::new(0));
    let (ended, end) = channel::<()>();
    let seen = Arc::clone(&now);
    thread::spawn(move || {
        let mut last = 0;
        while end.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout) {
            let seed = seen.load(Ordering::Relaxed);
            if seed == last {
                eprintln!("the case KAPSEL_SEED={seed} hangs");
                std::process::abort();
            }
            last = seed;
        }
    });
    for seed in chosen.map_or(1..=count, |seed| seed..=seed) {
        now.store(seed, Ordering::Relaxed);
        let named = Named(seed);
        LIVE.set(1 << 40);
        PEAK.set(1 << 40);
        // Seeds that follow one another give numbers that do not.
        case(&mut Chance(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1));
        let used = PEAK.get() - (1 << 40);
        assert!(used <= most, "{used} bytes in use at once");
        drop(named);
    }
    drop(ended);
}

/// Says which case failed.
struct Named(u64);

impl Drop for Named {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("this was the case KAPSEL_SEED={}", self.0);
        }
    }
}

/// Changes the bytes of a text in a few places. `words` are such as its parser knows.
pub fn mutate(chance: &mut Chance, text: &mut Vec<u8>, words: &[&str]) {
    const MARKS: [&str; 22] = [
        "{",
        "}",
        "[",
        "]",
        "\"",
        ",",
        ":",
        "null",
        "true",
        "-1",
        "0",
        "1e999",
        "18446744073709551616",
        "4294967296",
        "-9223372036854775809",
        "0.5",
        "\\u0000",
        "\\ud800",
        "\0",
        "\u{feff}",
        "{\"a\":[",
        "[[[[[[[[",
    ];
    for _ in 0..=chance.below(4) {
        let (from, to) = (chance.below(text.len() + 1), chance.below(text.len() + 1));
        let (from, to) = (from.min(to), from.max(to).min(from.min(to) + 4096));
        match chance.below(8) {
            0 if !text.is_empty() => {
                let at = chance.below(text.len());
                text[at] ^= 1 << chance.below(8);
            }
            1 => drop(text.drain(from..to)),
            2 => drop(text.splice(from..from, text[from..to].to_vec())),
            3 => text.truncate(to),
            4 => drop(text.splice(from..from, chance.pick(&MARKS).bytes())),
            5 => drop(text.splice(from..to, chance.pick(words).bytes())),
            6 => {
                drop(text.splice(from..from, chance.pick(&MARKS).repeat(1 + chance.below(300)).into_bytes()))
            }
            _ => text.insert(from, chance.number() as u8),
        }
    }
}

/// Changes a document in a few places, so that it stays one.
pub fn change(chance: &mut Chance, document: &mut Value, words: &[&str]) {
    for _ in 0..=chance.below(3) {
        let steps = chance.below(12);
        let place = descend(chance, document, steps);
        match (place, chance.below(4)) {
            (Value::Object(fields), 0) => {
                let key = fields.keys().nth(chance.below(fields.len())).cloned();
                key.map(|key| fields.remove(&key));
            }
            (Value::Object(fields), 1) => {
                drop(fields.insert(chance.pick(words).to_owned(), any(chance, words)))
            }
            (Value::Array(items), 0) if !items.is_empty() => {
                let copy = items[chance.below(items.len())].clone();
                items.extend(std::iter::repeat_n(copy, 1 + chance.below(40)));
            }
            (Value::Array(items), 1) => items.push(any(chance, words)),
            (place, _) => *place = any(chance, words),
        }
    }
}

fn descend<'a>(chance: &mut Chance, value: &'a mut Value, steps: usize) -> &'a mut Value {
    let count = match value {
        Value::Object(fields) => fields.len(),
        Value::Array(items) => items.len(),
        _ => 0,
    };
    if steps == 0 || count == 0 {
        return value;
    }
    let at = chance.below(count);
    let next = match value {
        Value::Object(fields) => fields.values_mut().nth(at),
        Value::Array(items) => items.get_mut(at),
        _ => None,
    };
    descend(chance, next.expect("it is not empty"), steps - 1)
}

/// A value of any kind, most often of one that parsers get wrong.
pub fn any(chance: &mut Chance, words: &[&str]) -> Value {
    match chance.below(14) {
        0 => Value::Null,
        1 => json!(chance.below(2) == 0),
        2 => json!(chance.number()),
        3 => json!(-(chance.below(3) as i64)),
        4 => json!(u64::from(u32::MAX) + chance.below(3) as u64 - 1),
        5 => json!([i64::MIN, i64::MAX, -1, 0][chance.below(4)]),
        6 => json!(0.5),
        7 => json!("a\0b"),
        8 => json!("x".repeat(chance.below(5000))),
        9 => json!([any(chance, words)]),
        10 => json!({chance.pick(words): any(chance, words)}),
        11 => json!(format!("{}{}", chance.pick(words), chance.pick(words))),
        _ => json!(chance.pick(words)),
    }
}
