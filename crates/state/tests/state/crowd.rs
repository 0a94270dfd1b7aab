//! Many processes at once, kill -9 at any point, a full disk: what the database promises.

use std::io::Read;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use kapsel_state::{Database, EventFilter, Exit, Status};

use crate::children::child;
use crate::common::{id, insert_image, new_container, open};

const IMAGE: &str = "aa";

/// A whole life with `--rm`, as `kapsel run` would record it.
fn live(database: &mut Database, id: &str, name: &str, image: &str) -> kapsel_state::Result<()> {
    database.insert_container(&new_container(id, name, image, Status::Starting))?;
    database.started(id, 1, &kapsel_state::now())?;
    database.exited(id, &Exit::default())?;
    database.remove_container(id).map(drop)
}

pub fn one_of_a_crowd(root: &Path) {
    let number = std::env::var("NUMBER").unwrap();
    let mut database = open(root);
    // Each brings the image itself: all of them may find an empty directory.
    let image = insert_image(&mut database, IMAGE, "sha256:l1", &["busybox"]);
    for life in 0..5 {
        let id = id(&format!("{number:0>4}{life}"));
        live(&mut database, &id, &format!("c{number}-{life}"), &image).unwrap();
    }
}

#[test]
fn sixty_four_processes_open_and_write_at_once() {
    let root = tempfile::tempdir().unwrap();
    let mut children: Vec<_> = (0..64)
        .map(|number| child("one of a crowd", root.path()).env("NUMBER", number.to_string()).spawn().unwrap())
        .collect();
    for running in &mut children {
        let mut complaint = String::new();
        running.stderr.take().unwrap().read_to_string(&mut complaint).unwrap();
        assert!(running.wait().unwrap().success(), "{complaint}");
    }
    let database = open(root.path());
    let events = database.events(&EventFilter::default()).unwrap();
    let of_containers = events.iter().filter(|event| event.kind == "container").count();
    assert_eq!(of_containers, 64 * 5 * 4, "an event for each step of each life");
    assert!(database.containers(&[]).unwrap().is_empty());
}

pub fn writer_without_end(root: &Path) {
    let mut database = open(root);
    let image = insert_image(&mut database, IMAGE, "sha256:l1", &[]);
    for number in 0_u64.. {
        let id = id(&format!("{:08x}{number:08x}", std::process::id()));
        database.insert_container(&new_container(&id, &id, &image, Status::Starting)).unwrap();
        if number % 2 == 0 {
            database.exited(&id, &Exit::default()).unwrap();
            database.remove_container(&id).unwrap();
        }
    }
}

/// Nothing half-done: a row has its `create`, and its `destroy` if and only if it is gone.
fn assert_whole(database: &Database) {
    let events = database.events(&EventFilter::default()).unwrap();
    let of = |action: &str| {
        let mut ids: Vec<_> =
            events.iter().filter(|event| event.action == action).map(|event| &event.id).collect();
        ids.sort();
        ids
    };
    let (created, destroyed) = (of("create"), of("destroy"));
    let rows: Vec<_> = database.containers(&[]).unwrap().into_iter().map(|row| row.id).collect();
    let mut expected: Vec<_> =
        created.into_iter().filter(|id| destroyed.binary_search(id).is_err()).collect();
    let mut present: Vec<_> = rows.iter().collect();
    expected.sort();
    present.sort();
    assert_eq!(present, expected);
}

#[test]
fn a_writer_killed_at_any_point_leaves_whole_transactions() {
    let root = tempfile::tempdir().unwrap();
    for round in 0..30 {
        // Three write at once; all are killed, the first rounds while they still make the tables.
        let mut children: Vec<_> =
            (0..3).map(|_| child("writer without end", root.path()).spawn().unwrap()).collect();
        std::thread::sleep(Duration::from_micros(1500 + 1700 * round));
        for running in &mut children {
            running.kill().unwrap();
            running.wait().unwrap();
        }
        assert_whole(&open(root.path()));
    }
    let check = rusqlite::Connection::open(root.path().join("kapsel.db")).unwrap();
    let verdict: String = check.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
    assert_eq!(verdict, "ok");
    let rows = open(root.path()).containers(&[]).unwrap().len();
    assert!(rows > 10, "the writers did write before they were killed: {rows}");
}

pub fn writer_on_a_small_disk(root: &Path) {
    let mut database = open(root);
    let image = insert_image(&mut database, IMAGE, "sha256:l1", &[]);
    let error = (0_u64..100_000)
        .find_map(|number| {
            let id = id(&format!("{number:08x}"));
            database.insert_container(&new_container(&id, &id, &image, Status::Created)).err()
        })
        .unwrap();
    assert_eq!(error.code, "DISK_FULL");
    assert_eq!(error.errno, libc::ENOSPC);
    assert!(error.hint.is_some());
    assert_whole(&database);
    assert_whole(&open(root));
    // What gives room back works all the same, in another process too; what takes room does not.
    let rows = database.containers(&[]).unwrap();
    database.remove_container(&rows[0].id).unwrap();
    open(root).remove_container(&rows[1].id).unwrap();
    assert_eq!(database.containers(&[]).unwrap().len(), rows.len() - 2);
    assert_whole(&database);
}

/// On a file system of one megabyte, in a mount namespace (and, for an ordinary user, a user namespace) of its own.
#[test]
fn a_full_disk_is_said_to_be_full_and_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let inner = child("writer on a small disk", root.path());
    let program = inner.get_program().to_owned();
    let script = r#"mount -t tmpfs -o size=1m small "$ROOT" && head -c 65536 /dev/zero > "$ROOT/ballast" && exec "$@""#;
    let output = Command::new("unshare")
        .args(["--mount", "--map-root-user", "sh", "-c", script, "sh"])
        .arg(program)
        .args(inner.get_args())
        .env("ROOT", root.path())
        .output()
        .unwrap();
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}
