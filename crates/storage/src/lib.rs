//! Storage: what turns hostile bytes into a layer's tree, removes trees, and makes the image of the host's own programs.
//!
//! - [`unpack`]: a tar, plain or compressed → a tree, verified while it streams
//! - [`layer`]: a tree and its recipe → the layer's tar
//! - `compress`: a tar → a blob (feature `compress`)
//! - [`confine`]: what makes a process fit to do that with hostile input
//! - [`changes`]: what a container has changed → a tar
//! - [`remove`]: a tree → nothing, whatever is in it
//! - [`compare`]: two stacks of layers → what differs between them
//! - [`usage`]: trees → the bytes they take, and those that their removal frees
//! - [`share`]: files that layers have alike → one file
//! - [`tar`]: the format, read and written without I/O
//! - [`host`]: programs of this machine → a tar with everything they need
//! - [`digest`], [`error`]: the words all of them use

pub mod changes;
pub mod compare;
#[cfg(feature = "compress")]
pub mod compress;
pub mod confine;
pub mod digest;
mod directory;
pub mod error;
mod extract;
pub mod host;
pub mod layer;
mod recipe;
pub mod remove;
pub mod share;
mod stream;
pub mod tar;
pub mod unpack;
pub mod usage;

pub use digest::Digest;
pub use error::{Error, Result};
pub use stream::Compression;
