//! The file: opening it in well under a millisecond, its settings, and the one way to write to it.

use std::cell::Cell;
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use crate::error::{Error, Result, disk_full};
use crate::reserve::Reserve;
use crate::schema::STEPS;

/// How long a writer waits for the others before it gives up with `DATABASE_BUSY`.
pub const BUSY_PATIENCE: Duration = Duration::from_secs(10);

/// The log is moved into the file after this many pages (of 4 KiB): whoever is the only one to open the database
/// reads the whole log first, so a short one keeps that under a millisecond.
const CHECKPOINT_PAGES: u32 = 256;

/// How many statements stay compiled: all that there are. One life of a container takes some thirty, and each costs more to
/// compile than to carry out.
const STATEMENTS: usize = 128;

/// A connection to an engine's state.
#[derive(Debug)]
pub struct Database {
    connection: Connection,
    path: PathBuf,
    reserve: Reserve,
}

impl Database {
    /// Opens the database at `path` and makes it where there is none. Its directory must exist.
    pub fn open(path: &Path) -> Result<Self> {
        make_private(path);
        let connection = connect(path)?;
        let mut database = Self { connection, path: path.to_owned(), reserve: Reserve::keep(path) };
        match database.version()? {
            version if version == STEPS.len() => {}
            version if version < STEPS.len() => database.migrate()?,
            version => {
                return Err(Error::new(
                    "DATABASE_TOO_NEW",
                    format!("{} was written by a newer kapsel (version {version})", path.display()),
                )
                .hint("use that kapsel, or another --root"));
            }
        }
        Ok(database)
    }

    /// Carries out `work` in one transaction that has the write lock from its beginning: what it read stays true.
    pub(crate) fn write<T>(&mut self, work: impl FnOnce(&Transaction<'_>) -> Result<T>) -> Result<T> {
        let outcome = (|| {
            let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let value = work(&transaction)?;
            transaction.commit()?;
            Ok(value)
        })();
        outcome.map_err(|error| self.with_errno(error))
    }

    /// As `write`, for what gives room back: where the disk is full, into the room that is kept for it.
    pub(crate) fn write_removal<T>(
        &mut self,
        mut work: impl FnMut(&Transaction<'_>) -> Result<T>,
    ) -> Result<T> {
        match self.write(&mut work) {
            Err(error) if error.code == "DISK_FULL" && self.reserve.spend() => self.write(work),
            outcome => outcome,
        }
    }

    /// Carries out `work`, which only reads.
    pub(crate) fn read<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        self.explain(work)
    }

    fn explain<T>(&self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        work(&self.connection).map_err(|error| self.with_errno(error))
    }

    /// SQLite reports some full disks as plain I/O errors (the shared-memory file's, for one); the errno tells.
    fn with_errno(&self, mut error: Error) -> Error {
        if !error.is_io() {
            return error;
        }
        // SAFETY: the handle is the open connection's and lives as long as `self`.
        error.errno = unsafe { rusqlite::ffi::sqlite3_system_errno(self.connection.handle()) };
        if error.errno == libc::ENOSPC { disk_full() } else { error }
    }

    fn version(&self) -> Result<usize> {
        let version: u32 =
            self.read(|connection| Ok(connection.query_row("PRAGMA user_version", [], |row| row.get(0))?))?;
        Ok(version as usize)
    }

    /// Makes or upgrades the tables. One process at a time, by a lock on the directory: a lock on the file itself
    /// would, when closed, drop the POSIX locks SQLite holds on it.
    fn migrate(&mut self) -> Result<()> {
        let directory =
            self.path.parent().filter(|path| !path.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let failed = |error| Error::system(&format!("lock {}", directory.display()), &error);
        let lock = File::open(directory).map_err(failed)?;
        lock.lock().map_err(failed)?;
        self.explain(|connection| {
            Ok(connection
                .query_row("PRAGMA journal_mode = WAL", [], |row| row.get::<_, String>(0))
                .map(drop)?)
        })?;
        let version = self.version()?;
        self.write(|transaction| {
            for step in STEPS.iter().skip(version) {
                transaction.execute_batch(step)?;
            }
            Ok(transaction.execute_batch(&format!("PRAGMA user_version = {}", STEPS.len()))?)
        })
    }
}

/// Makes the file where there is none, for its owner alone: rows hold users' environments, and SQLite would leave it
/// to the umask. It gives the log the same mode. A failure is left for SQLite to report.
fn make_private(path: &Path) {
    // Looked at first: a file this process has open already must not be opened and closed beside SQLite, whose POSIX
    // locks on it would go.
    if !path.exists() {
        let _ = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    }
}

fn connect(path: &Path) -> Result<Connection> {
    // NO_MUTEX: a connection is used by one thread at a time, which Rust's types see to.
    let flags =
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(|error| unopened(path, error))?;
    connection.busy_handler(Some(wait_for_turn))?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // A short-lived command must not pay for moving the log when it happens to be the last one out.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    connection.execute_batch(&format!(
        "PRAGMA synchronous = NORMAL; PRAGMA wal_autocheckpoint = {CHECKPOINT_PAGES}; PRAGMA cache_size = -512"
    ))?;
    Ok(connection)
}

/// SQLite says that it cannot open a file, not why.
fn unopened(path: &Path, error: rusqlite::Error) -> Error {
    match OpenOptions::new().read(true).write(true).open(path) {
        Err(reason) => {
            let error = Error::system(&format!("open the database {}", path.display()), &reason);
            if error.code == "DISK_FULL" { error } else { Error { code: "DATABASE_UNREADABLE", ..error } }
        }
        Ok(_) => error.into(),
    }
}

/// SQLite's own handler sleeps up to 100 ms at a time, which starves someone when sixty-four write at once. A
/// transaction here takes some tens of microseconds: short sleeps, growing to 4 ms.
fn wait_for_turn(tries: i32) -> bool {
    thread_local! {
        static SINCE: Cell<Option<Instant>> = const { Cell::new(None) };
    }
    if tries == 0 {
        SINCE.set(Some(Instant::now()));
    }
    if SINCE.get().is_some_and(|since| since.elapsed() > BUSY_PATIENCE) {
        return false;
    }
    std::thread::sleep(Duration::from_micros(100 << tries.clamp(0, 5)));
    true
}
