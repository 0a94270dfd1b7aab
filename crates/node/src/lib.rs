//! The addon: what JavaScript may ask of Rust. It translates and decides nothing.
