//! The addon: what JavaScript may ask of Rust. It translates and decides nothing.
//!
//! `src/native.ts` is its only caller and its other half: the types it gives people are written there by hand.
//! Failures cross as values ([`outcome`]), rows as JSON, descriptors as numbers that are the caller's to close.
//! What waits for long does so on a thread of this crate's, never on one of libuv's four.

// napi registers its exports outside of test builds only.
#![cfg_attr(test, allow(dead_code))]

mod compress;
mod connection;
mod database;
mod descriptors;
mod digest;
mod executable;
mod outcome;
mod pump;
mod settle;
mod spawn;
mod store;
mod waiter;
