//! The living and the dead: what reconciliation sees, records, and leaves to its caller.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use kapsel_state::{
    Database, EventFilter, Exit, Reconciled, Status, is_free, lock_exclusive, remove_run_directory,
};

use crate::children::child;
use crate::common::{id, insert_image, new_container, open};

const NOW: Duration = Duration::ZERO;

struct World {
    root: tempfile::TempDir,
    database: Database,
    image: String,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let mut database = open(root.path());
        let image = insert_image(&mut database, "aa", "sha256:l1", &[]);
        Self { root, database, image }
    }

    fn insert(&mut self, id: &str, auto_remove: bool) {
        let mut new = new_container(id, id, &self.image, Status::Starting);
        new.auto_remove = auto_remove;
        self.database.insert_container(&new).unwrap();
    }

    fn directory(&self, id: &str) -> PathBuf {
        self.root.path().join("containers").join(id)
    }

    fn lock(&self, id: &str) -> Held {
        let path = self.directory(id).join("lock");
        Held(Some(lock_exclusive(&path, NOW).unwrap()), path)
    }

    fn reconcile(&mut self) -> (Vec<String>, Vec<String>, Vec<String>) {
        let Reconciled { died, remove, strays } = self.database.reconcile(self.root.path()).unwrap();
        let ids = |rows: Vec<kapsel_state::Container>| rows.into_iter().map(|row| row.id).collect();
        (ids(died), ids(remove), strays)
    }
}

/// A lock of a test's; when dropped, it is free.
struct Held(Option<fs::File>, PathBuf);

impl Drop for Held {
    fn drop(&mut self) {
        self.0.take();
        wait_until_free(&self.1);
    }
}

/// Another test's thread may be between fork and exec, with a copy of the descriptor.
fn wait_until_free(path: &Path) {
    while !is_free(path).unwrap() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

const NOBODY: (Vec<String>, Vec<String>, Vec<String>) = (Vec::new(), Vec::new(), Vec::new());

#[test]
fn a_held_lock_is_a_life() {
    let mut world = World::new();
    assert_eq!(world.reconcile(), NOBODY, "there need not even be a run directory");
    let one = id("c1");
    let lock = world.lock(&one);
    world.insert(&one, false);
    assert_eq!(world.reconcile(), NOBODY);
    world.database.started(&one, 1, &kapsel_state::now()).unwrap();
    assert_eq!(world.reconcile(), NOBODY);
    world.database.paused(&one).unwrap();
    assert_eq!(world.reconcile(), NOBODY);
    drop(lock);
    assert_eq!(world.reconcile().0, vec![one.clone()]);
    let row = world.database.container(&one).unwrap();
    assert_eq!((row.status, row.exit_code), (Status::Exited, Some(137)), "nobody said how it ended");
}

#[test]
fn the_dead_are_recorded_once_with_what_they_left() {
    let mut world = World::new();
    let one = id("c1");
    drop(world.lock(&one));
    world.insert(&one, false);
    let record = r#"{"exitCode":3,"signal":null,"oomKilled":false,"startedAt":"2026-01-01T00:00:00.000000000Z",
                     "finishedAt":"2026-01-02T00:00:00.000000000Z"}"#;
    fs::write(world.directory(&one).join("exit.json"), record).unwrap();
    assert_eq!(world.reconcile(), (vec![one.clone()], vec![], vec![]));
    let row = world.database.container(&one).unwrap();
    assert_eq!((row.status, row.exit_code), (Status::Exited, Some(3)));
    assert_eq!(row.started_at.as_deref(), Some("2026-01-01T00:00:00.000000000Z"));
    assert_eq!(row.finished_at.as_deref(), Some("2026-01-02T00:00:00.000000000Z"));
    // Whoever was to reap it may have been killed: it is reported until its run directory is gone.
    assert_eq!(world.reconcile().0, vec![one.clone()]);
    let lock = world.lock(&one);
    remove_run_directory(&world.directory(&one)).unwrap();
    drop(lock);
    assert_eq!(world.reconcile(), NOBODY);
    let events = world.database.events(&EventFilter::default()).unwrap();
    assert_eq!(events.iter().filter(|event| event.action == "die").count(), 1);
}

#[test]
fn a_record_that_is_not_whole_is_no_record() {
    let mut world = World::new();
    for (number, record) in ["", "{\"exitCode\":", "[]", "null", "\u{0}"].iter().enumerate() {
        let one = id(&format!("c{number}"));
        drop(world.lock(&one));
        world.insert(&one, false);
        fs::write(world.directory(&one).join("exit.json"), record).unwrap();
        world.reconcile();
        assert_eq!(world.database.container(&one).unwrap().exit_code, Some(137), "{record:?}");
    }
}

#[test]
fn a_machine_that_was_switched_off_has_no_living() {
    let mut world = World::new();
    let one = id("c1");
    world.insert(&one, false);
    world.database.started(&one, 1, &kapsel_state::now()).unwrap();
    assert_eq!(world.reconcile(), NOBODY, "its run directory went with the machine: nothing to reap");
    assert_eq!(world.database.container(&one).unwrap().status, Status::Exited);
}

#[test]
fn a_dead_container_of_rm_is_to_vanish_whoever_recorded_its_end() {
    let mut world = World::new();
    let (seen, unseen, removing) = (id("c1"), id("c2"), id("c3"));
    world.insert(&seen, true);
    world.database.exited(&seen, &Exit::default()).unwrap();
    drop(world.lock(&unseen));
    world.insert(&unseen, true);
    let monitor = world.lock(&removing);
    world.insert(&removing, true);
    world.database.exited(&removing, &Exit::default()).unwrap();
    let (died, mut remove, strays) = world.reconcile();
    remove.sort();
    assert_eq!((died, remove, strays), (vec![unseen.clone()], vec![seen.clone(), unseen.clone()], vec![]));
    drop(monitor);
    assert_eq!(world.reconcile().1.len(), 3, "the monitor that was removing its trees is gone too");
    for one in [seen, unseen, removing] {
        world.database.remove_container(&one).unwrap();
    }
    assert_eq!(world.reconcile().1.len(), 0);
}

#[test]
fn a_run_directory_without_a_row_is_swept_unless_somebody_is_making_one() {
    let mut world = World::new();
    let (dead, bare, making) = (id("c1"), id("c2"), id("c3"));
    drop(world.lock(&dead));
    fs::create_dir_all(world.directory(&bare)).unwrap();
    let lock = world.lock(&making);
    let doomed = world.root.path().join("containers/.c9.1");
    fs::create_dir(&doomed).unwrap();
    let (died, remove, mut strays) = world.reconcile();
    strays.sort();
    assert_eq!((died, remove, strays), (vec![], vec![], vec![dead.clone(), bare.clone()]));
    assert!(!world.directory(&dead).exists() && !world.directory(&bare).exists() && !doomed.exists());
    assert!(world.directory(&making).exists());
    world.insert(&making, false);
    assert_eq!(world.reconcile(), NOBODY);
    drop(lock);
}

#[test]
fn a_row_with_a_run_directory_but_no_life_is_left_alone() {
    let mut world = World::new();
    let one = id("c1");
    drop(world.lock(&one));
    world.database.insert_container(&new_container(&one, "web", &world.image, Status::Created)).unwrap();
    assert_eq!(world.reconcile(), NOBODY);
    assert_eq!(world.database.container(&one).unwrap().status, Status::Created);
}

#[test]
fn a_lock_ends_with_its_last_holder() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("containers/c1/lock");
    assert!(is_free(&path).unwrap(), "what is not there is held by nobody");
    let lock = lock_exclusive(&path, NOW).unwrap();
    assert_eq!(fs::metadata(path.parent().unwrap()).unwrap().permissions().mode() & 0o7777, 0o700);
    let inherited = lock.try_clone().unwrap();
    drop(lock);
    assert!(!is_free(&path).unwrap());
    assert_eq!(lock_exclusive(&path, NOW).unwrap_err().code, "LOCK_IN_USE");
    drop(inherited);
    wait_until_free(&path);
    let removed = lock_exclusive(&path, NOW).unwrap();
    remove_run_directory(path.parent().unwrap()).unwrap();
    let _anew = lock_exclusive(&path, NOW).unwrap();
    drop(removed);
    assert!(!is_free(&path).unwrap(), "a lock on a removed file is nobody's");
}

#[test]
fn a_place_where_no_directory_can_be_is_told() {
    let root = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink("nowhere", root.path().join("link")).unwrap();
    let begun = std::time::Instant::now();
    let error = lock_exclusive(&root.path().join("link/lock"), Duration::ZERO).unwrap_err();
    assert_eq!(error.errno, libc::EEXIST, "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_lock_is_never_taken_through_a_link() {
    let root = tempfile::tempdir().unwrap();
    let directory = root.path().join("containers/c1");
    fs::create_dir_all(&directory).unwrap();
    std::os::unix::fs::symlink(root.path().join("elsewhere"), directory.join("lock")).unwrap();
    assert_eq!(lock_exclusive(&directory.join("lock"), NOW).unwrap_err().code, "STORAGE_FAILED");
    assert!(!root.path().join("elsewhere").exists());
}

pub fn maker(root: &Path) {
    let number = std::env::var("NUMBER").unwrap();
    let mut database = open(root);
    let image = insert_image(&mut database, "aa", "sha256:l1", &[]);
    for life in 0..20 {
        let one = id(&format!("{number:0>4}{life:0>2}"));
        let directory = root.join("containers").join(&one);
        let lock = lock_exclusive(&directory.join("lock"), Duration::from_millis(500)).unwrap();
        database.insert_container(&new_container(&one, &one, &image, Status::Starting)).unwrap();
        database.reconcile(root).unwrap();
        assert!(directory.join("lock").exists(), "nobody swept it");
        assert!(database.started(&one, 1, &kapsel_state::now()).unwrap(), "nobody took it for dead");
        assert!(database.exited(&one, &Exit::default()).unwrap());
        remove_run_directory(&directory).unwrap();
        database.remove_container(&one).unwrap();
        drop(lock);
    }
}

#[test]
fn makers_and_sweepers_never_meet() {
    let root = tempfile::tempdir().unwrap();
    let makers: Vec<_> = (0..12)
        .map(|number| child("maker", root.path()).env("NUMBER", number.to_string()).spawn().unwrap())
        .collect();
    for maker in makers {
        let output = maker.wait_with_output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{said}");
    }
    assert!(fs::read_dir(root.path().join("containers")).unwrap().next().is_none(), "and nothing is left");
}
