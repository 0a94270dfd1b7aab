//! What tests/c_library.rs asks of a program that has the executable's substitutes for parts of the C library.

use std::ffi::{c_char, c_uint};
use std::io::{Error, Result, Write, stdout};
use std::thread;

#[path = "../src/c_library.rs"]
mod c_library;

unsafe extern "C" {
    fn __assert_fail(
        assertion: *const c_char,
        file: *const c_char,
        line: c_uint,
        function: *const c_char,
    ) -> !;
}

fn main() -> Result<()> {
    match std::env::args().nth(1).as_deref() {
        Some("panic") => panic!("in {} words", 3),
        Some("thread") => {
            let named = thread::Builder::new().name("worker".to_owned());
            let name = named.spawn(|| thread::current().name().map(str::to_owned))?.join();
            writeln!(stdout(), "{name:?}")
        }
        // SAFETY: strings of the program.
        Some("assert") => unsafe {
            __assert_fail(c"top != NULL".as_ptr(), c"malloc.c".as_ptr(), 7, c"free".as_ptr())
        },
        _ => [libc::ENOENT, libc::ENOSPC, 9999]
            .into_iter()
            .try_for_each(|number| writeln!(stdout(), "{}", Error::from_raw_os_error(number))),
    }
}
