//! `kapsel-runtime`: the static executable.
fn main() {}
