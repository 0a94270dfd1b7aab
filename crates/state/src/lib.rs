//! State: the database of containers, images, layers, networks, volumes and events, and who is alive.
//!
//! One SQLite file per engine, in WAL mode, shared by every process that works with that engine. There is no
//! daemon: each command opens it, changes a row and appends the event in one transaction, and may be killed at any
//! point. What it promises:
//! - after `kill -9` of any process, every transaction is there wholly or not at all;
//! - after a power failure the file is consistent, and at most the last transactions before it are missing;
//! - writers wait for each other, up to [`BUSY_PATIENCE`], and never fail for being many;
//! - a full disk is the error `DISK_FULL` and changes nothing, but what gives room back still works.
//!
//! It knows no paths but the two it is given, and starts and stops nothing: [`Database::reconcile`] only notices.

mod clock;
mod columns;
mod containers;
mod database;
mod error;
mod events;
mod images;
mod layers;
mod leases;
mod lock;
mod networks;
mod reconcile;
mod reserve;
mod rows;
mod schema;
mod volumes;

pub use clock::now;
pub use database::{BUSY_PATIENCE, Database};
pub use error::{Error, Result};
pub use lock::{is_free, lock_exclusive, remove_run_directory};
pub use rows::*;
