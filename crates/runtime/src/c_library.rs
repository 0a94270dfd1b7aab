//! What of the C library the static executable does without. A third of it would be linked for streams of wide
//! characters, translations of messages, formatted printing and a resolver, none of which anybody in here asks for: it is
//! pulled in by the library's own ways to complain.
//!
//! These definitions come first, so the linker never looks for the library's own. What cannot happen ends the process.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulong, c_void};
use std::io::Write;

/// Nobody in here calls it.
macro_rules! absent {
    ($($name:ident)*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name() -> ! {
            end(concat!("the C library's ", stringify!($name), " is not part of this executable"))
        }
    )*};
}

// Formatted printing: errors of dlopen(3), statistics of malloc(3).
absent!(fprintf __asprintf __snprintf __fxprintf);
// Streams of wide characters, which a stream becomes when one is written to it.
absent!(__wcsmbs_named_conv __wcsmbs_clone_conv __wcsmbs_load_conv);

/// How those would convert.
#[unsafe(no_mangle)]
static __wcsmbs_gconv_fcts_c: [usize; 4] = [0; 4];

// Where a new thread's resolver would be; the library's own definition comes with the resolver.
std::arch::global_asm!(
    ".pushsection .tbss,\"awT\",%nobits",
    ".globl __libc_resp",
    ".balign 8",
    ".size __libc_resp, 8",
    "__libc_resp: .zero 8",
    ".popsection",
);

fn end(message: &str) -> ! {
    // Nobody may be listening.
    let _ = writeln!(std::io::stderr(), "kapsel-runtime: {message}");
    std::process::abort()
}

/// assert(3) of the library itself: its words, without its printf.
#[unsafe(no_mangle)]
extern "C" fn __assert_fail(
    assertion: *const c_char,
    file: *const c_char,
    line: c_uint,
    _function: *const c_char,
) -> ! {
    // SAFETY: the caller gives two strings of the program.
    let [assertion, file] = [assertion, file].map(|text| unsafe { CStr::from_ptr(text) }.to_string_lossy());
    end(&format!("{file}:{line}: assertion {assertion:?} failed in the C library"))
}

/// Messages are in English.
#[unsafe(no_mangle)]
extern "C" fn __dcgettext(_domain: *const c_char, message: *const c_char, _category: c_int) -> *const c_char {
    message
}

/// Where the stack of a thread ends. The standard library asks for it to say "stack overflow" in place of "segmentation
/// fault"; it would be read from /proc/self/maps, with scanf(3). It goes without, as where the call is not known.
#[unsafe(no_mangle)]
extern "C" fn pthread_getattr_np(_thread: c_ulong, _attributes: *mut c_void) -> c_int {
    libc::ENOSYS
}

/// A name that only debuggers see.
#[unsafe(no_mangle)]
extern "C" fn pthread_setname_np(_thread: c_ulong, _name: *const c_char) -> c_int {
    0
}

/// The words for an error number, as strerror(3) has them.
#[unsafe(no_mangle)]
extern "C" fn __xpg_strerror_r(number: c_int, buffer: *mut c_char, length: usize) -> c_int {
    unsafe extern "C" {
        fn strerrordesc_np(number: c_int) -> *const c_char;
    }
    // SAFETY: it gives a string of the program, or null.
    let known = unsafe { strerrordesc_np(number) };
    let text = match known.is_null() {
        true => format!("Unknown error {number}"),
        // SAFETY: not null.
        false => unsafe { CStr::from_ptr(known) }.to_string_lossy().into_owned(),
    };
    let length = text.len().min(length.saturating_sub(1));
    // SAFETY: the caller's buffer has that many bytes, and one for the zero.
    unsafe {
        buffer.cast::<u8>().copy_from_nonoverlapping(text.as_ptr(), length);
        buffer.add(length).write(0);
    }
    0
}
