//! Rows and their events: lives, names, references, layers nobody uses any more.

use std::os::unix::fs::PermissionsExt;

use crate::common::{id, insert_image, json, new_container, open};
use kapsel_state::{
    Attributes, Database, EventFilter, Exit, Image, LayerSource, NewEvent, NewVolume, Status,
};

fn actions(database: &Database) -> Vec<String> {
    let events = database.events(&EventFilter::default()).unwrap();
    events.into_iter().map(|event| format!("{} {}", event.kind, event.action)).collect()
}

fn code<T: std::fmt::Debug>(result: kapsel_state::Result<T>) -> &'static str {
    result.unwrap_err().code
}

#[test]
fn a_life_leaves_its_row_and_an_event_for_every_step() {
    let root = tempfile::tempdir().unwrap();
    let mut database = open(root.path());
    let image = insert_image(&mut database, "aa", "sha256:l1", &["docker.io/library/busybox:latest"]);
    let id = id("c1");
    database.insert_container(&new_container(&id, "web", &image, Status::Created)).unwrap();
    assert_eq!(code(database.paused(&id)), "CONTAINER_CONFLICT");
    database.starting(&id).unwrap();
    assert_eq!(code(database.starting(&id)), "CONTAINER_CONFLICT");
    assert!(database.started(&id, 4711, &kapsel_state::now()).unwrap());
    let row = database.container("web").unwrap();
    assert_eq!((row.status, row.pid, row.exit_code), (Status::Running, Some(4711), None));
    assert_eq!(row.document.get(), r#"{"args":["true"]}"#);
    database.paused(&id).unwrap();
    database.unpaused(&id).unwrap();
    assert_eq!(code(database.remove_container(&id)), "CONTAINER_CONFLICT");
    let exit = Exit { exit_code: 137, signal: Some(9), oom_killed: true, ..Exit::default() };
    assert!(database.exited(&id, &exit).unwrap());
    assert!(!database.exited(&id, &exit).unwrap(), "the end is recorded once");
    assert!(!database.started(&id, 1, &kapsel_state::now()).unwrap(), "a late start changes nothing");
    let row = database.container("web").unwrap();
    assert_eq!((row.status, row.pid, row.exit_code, row.oom_killed), (Status::Exited, None, Some(137), true));
    database.rename(&id, "site").unwrap();
    database.update_document(&id, &json("{}")).unwrap();
    assert!(database.remove_container(&id).unwrap().is_empty(), "the image still needs its layer");
    let expected = "image load, container create, container start, container pause, container unpause, container oom, \
                    container die, container rename, container update, container destroy";
    assert_eq!(actions(&database).join(", "), expected);
    let die =
        &database.events(&EventFilter { after: 6, limit: Some(1), ..EventFilter::default() }).unwrap()[0];
    let attributes: Attributes = serde_json::from_str(die.attributes.get()).unwrap();
    assert_eq!(attributes["exitCode"], "137");
    assert_eq!(attributes["signal"], "9");
    assert_eq!(attributes["image"], "busybox");
    assert_eq!(attributes["name"], "web");
    assert_eq!(attributes["team"], "red");
}

#[test]
fn a_second_life_forgets_the_first() {
    let root = tempfile::tempdir().unwrap();
    let mut database = open(root.path());
    let image = insert_image(&mut database, "aa", "sha256:l1", &[]);
    let id = id("c1");
    database.insert_container(&new_container(&id, "web", &image, Status::Starting)).unwrap();
    let exit = Exit { exit_code: 127, error: Some("no such program".into()), ..Exit::default() };
    database.exited(&id, &exit).unwrap();
    assert_eq!(database.container(&id).unwrap().error.as_deref(), Some("no such program"));
    database.starting(&id).unwrap();
    let row = database.container(&id).unwrap();
    assert_eq!((row.error, row.exit_code, row.finished_at), (None, None, None));
}

#[test]
fn a_container_is_found_by_id_then_name_then_prefix() {
    let root = tempfile::tempdir().unwrap();
    let mut database = open(root.path());
    let image = insert_image(&mut database, "aa", "sha256:l1", &[]);
    for (id, name) in [(id("abc1"), "web"), (id("abc2"), "db"), (id("d"), "abc1"), (id("e"), "0123")] {
        database.insert_container(&new_container(&id, name, &image, Status::Created)).unwrap();
    }
    assert_eq!(database.container(&id("abc1")).unwrap().name, "web");
    assert_eq!(database.container("abc1").unwrap().id, id("d"), "a name goes before a prefix");
    assert_eq!(database.container("/abc1").unwrap().id, id("d"));
    assert_eq!(database.container("abc2").unwrap().name, "db");
    let ambiguous = database.container("abc").unwrap_err();
    assert_eq!(ambiguous.code, "CONTAINER_AMBIGUOUS");
    assert!(ambiguous.message.contains("Multiple IDs found with provided prefix: abc"));
    for unknown in ["", "f", "abc%", "abc_", "ABC1", "' OR 1 --", "/"] {
        assert_eq!(code(database.container(unknown)), "CONTAINER_NOT_FOUND", "{unknown}");
    }
}

#[test]
fn a_name_in_use_names_its_holder() {
    let root = tempfile::tempdir().unwrap();
    let mut database = open(root.path());
    let image = insert_image(&mut database, "aa", "sha256:l1", &[]);
    database.insert_container(&new_container(&id("c1"), "web", &image, Status::Created)).unwrap();
    let error =
        database.insert_container(&new_container(&id("c2"), "web", &image, Status::Created)).unwrap_err();
    assert_eq!(error.code, "NAME_IN_USE");
    assert_eq!(error.message, "the name \"web\" is in use by container c10000000000");
    database.insert_container(&new_container(&id("c2"), "db", &image, Status::Created)).unwrap();
    assert_eq!(code(database.rename(&id("c2"), "web")), "NAME_IN_USE");
    assert_eq!(database.container(&id("c2")).unwrap().name, "db", "nothing was changed");
}

#[test]
fn an_image_is_found_by_id_reference_and_prefix() {
    let root = tempfile::tempdir().unwrap();
    let mut database = open(root.path());
    let first =
        insert_image(&mut database, "abc1", "sha256:l1", &["docker.io/library/a:1", "docker.io/library/b:1"]);
    let second = insert_image(&mut database, "abc2", "sha256:l2", &["abc1"]);
    assert_eq!(
        database.image(&first).unwrap().references,
        ["docker.io/library/a:1", "docker.io/library/b:1"]
    );
    assert_eq!(database.image(first.strip_prefix("sha256:").unwrap()).unwrap().id, first);
    assert_eq!(database.image("docker.io/library/b:1").unwrap().id, first);
    assert_eq!(database.image("abc1").unwrap().id, second, "a reference goes before a prefix");
    assert_eq!(database.image("sha256:abc1").unwrap().id, first);
    assert_eq!(code(database.image("abc")), "IMAGE_AMBIGUOUS");
    assert_eq!(code(database.image("zzz")), "IMAGE_NOT_FOUND");
    assert_eq!(code(database.image("sha256:")), "IMAGE_NOT_FOUND");
    database.tag("docker.io/library/a:1", &second).unwrap();
    assert_eq!(database.image(&first).unwrap().references, ["docker.io/library/b:1"], "a reference moves");
    database.untag("docker.io/library/a:1").unwrap();
    assert_eq!(code(database.untag("docker.io/library/a:1")), "IMAGE_NOT_FOUND");
    assert_eq!(code(database.tag("x", "sha256:none")), "IMAGE_NOT_FOUND");
    assert_eq!(database.images().unwrap().len(), 2);
}

#[test]
fn layers_stay_while_an_image_or_a_container_needs_them() {
    let root = tempfile::tempdir().unwrap();
    let mut database = open(root.path());
    let first = insert_image(&mut database, "a1", "sha256:l1", &["a"]);
    let second = insert_image(&mut database, "a2", "sha256:l2", &["b"]);
    database.insert_container(&new_container(&id("c1"), "web", &first, Status::Starting)).unwrap();
    assert_eq!(code(database.remove_image(&first, true)), "IMAGE_IN_USE", "never under a living container");
    database.exited(&id("c1"), &Exit::default()).unwrap();
    assert_eq!(code(database.remove_image(&first, false)), "IMAGE_IN_USE");
    assert_eq!(database.container("web").unwrap().layers.get(), r#"["sha256:l1"]"#);
    assert!(database.remove_image(&first, true).unwrap().is_empty(), "the container still needs the layer");
    assert_eq!(database.container("web").unwrap().layers.get(), r#"["sha256:l1"]"#, "and knows it");
    assert!(database.layer("sha256:l1").unwrap().is_some());
    assert_eq!(database.remove_container(&id("c1")).unwrap(), ["sha256:l1"]);
    assert_eq!(database.remove_image(&second, false).unwrap(), ["sha256:l2"]);
    assert!(database.layers().unwrap().is_empty());
    let image = Image {
        id: second.clone(),
        manifest_digest: None,
        config: json("{}"),
        diff_ids: vec!["sha256:l2".into()],
        size: 0,
        created_at: None,
        platform: "linux/amd64".into(),
        references: vec![],
        parent_id: None,
        tagged_at: None,
    };
    assert_eq!(
        code(database.insert_image(&image, "pull")),
        "LAYER_NOT_FOUND",
        "its layer went away meanwhile"
    );
    let late = database.insert_container(&new_container(&id("c2"), "late", &second, Status::Created));
    assert_eq!(code(late), "IMAGE_NOT_FOUND");
}

#[test]
fn volumes_are_made_once() {
    let root = tempfile::tempdir().unwrap();
    let mut database = open(root.path());
    let new = NewVolume { name: "data".into(), labels: Attributes::new() };
    assert!(database.insert_volume(&new).unwrap());
    assert!(!database.insert_volume(&new).unwrap());
    assert_eq!(database.volume("data").unwrap().labels.get(), "{}");
    database.remove_volume("data").unwrap();
    assert_eq!(code(database.volume("data")), "VOLUME_NOT_FOUND");
    assert_eq!(code(database.remove_volume("data")), "VOLUME_NOT_FOUND");
    assert_eq!(actions(&database), ["volume create", "volume destroy"]);
}

#[test]
fn the_oldest_events_are_forgotten_and_no_number_is_given_twice() {
    let root = tempfile::tempdir().unwrap();
    let mut database = open(root.path());
    let event = NewEvent {
        kind: "container".into(),
        action: "kill".into(),
        id: "x".into(),
        attributes: Attributes::new(),
    };
    for _ in 0..20_000 {
        database.append_event(&event).unwrap();
    }
    let events = database.events(&EventFilter::default()).unwrap();
    assert!((16_384..=17_408).contains(&events.len()), "{}", events.len());
    assert_eq!(events.last().unwrap().seq, 20_000);
    let (first, last) = (events[0].time.clone(), events[9].time.clone());
    let some = EventFilter { since: Some(first), until: Some(last), ..EventFilter::default() };
    assert_eq!(database.events(&some).unwrap().len(), 10);
}

#[test]
fn what_is_no_database_and_what_is_too_new_are_told_apart() {
    let root = tempfile::tempdir().unwrap();
    let path = root.path().join("kapsel.db");
    std::fs::write(
        &path,
        "this is a text, and quite a long one, so that it could hold a header of 100 bytes. ".repeat(20),
    )
    .unwrap();
    assert_eq!(code(Database::open(&path)), "DATABASE_CORRUPT");
    let missing = Database::open(&root.path().join("missing/kapsel.db")).unwrap_err();
    assert_eq!((missing.code, missing.errno), ("DATABASE_UNREADABLE", libc::ENOENT));
    let path = root.path().join("missing/kapsel.db");
    assert_eq!(
        missing.message,
        format!("cannot open the database {}: No such file or directory", path.display())
    );
    let newer = root.path().join("newer.db");
    rusqlite::Connection::open(&newer).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    assert_eq!(code(Database::open(&newer)), "DATABASE_TOO_NEW");
}

#[test]
fn only_its_owner_may_read_the_database() {
    let root = tempfile::tempdir().unwrap();
    let mut database = open(root.path());
    insert_image(&mut database, "aa", "sha256:l1", &[]);
    for name in ["kapsel.db", "kapsel.db-wal", "kapsel.db-shm"] {
        let mode = std::fs::metadata(root.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600, "{name}");
    }
}

#[test]
fn a_layer_remembers_its_forms_as_long_as_it_is_here() {
    let root = tempfile::tempdir().unwrap();
    let mut database = open(root.path());
    let image = insert_image(&mut database, "aa", "sha256:l1", &["docker.io/library/a:1"]);
    let form = |diff_id: &str, digest: &str, repository: &str| LayerSource {
        diff_id: diff_id.into(),
        digest: digest.into(),
        size: 7,
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip".into(),
        registry: "127.0.0.1:5000".into(),
        repository: repository.into(),
    };
    let forms = [form("sha256:l1", "sha256:b1", "a"), form("sha256:l1", "sha256:b1", "b")];
    database.insert_layer_sources(&forms).unwrap();
    database.insert_layer_sources(&forms).unwrap();
    database.insert_layer_sources(&[form("sha256:unknown", "sha256:b1", "a")]).unwrap();
    assert_eq!(database.layer_sources("sha256:l1").unwrap(), forms);
    assert!(database.layer_sources("sha256:unknown").unwrap().is_empty(), "of a layer that is not here");
    assert_eq!(database.remove_image(&image, false).unwrap(), ["sha256:l1"]);
    assert!(database.layer_sources("sha256:l1").unwrap().is_empty());
}

#[test]
fn an_image_is_named_at_a_time_and_keeps_its_parent() {
    let root = tempfile::tempdir().unwrap();
    let mut database = open(root.path());
    let parent = insert_image(&mut database, "aa", "sha256:l1", &[]);
    assert_eq!(database.image(&parent).unwrap().tagged_at, None, "it has no name");
    let mut child = database.image(&parent).unwrap();
    child.id = format!("sha256:{}", id("bb"));
    child.parent_id = Some(parent.clone());
    database.insert_image(&child, "commit").unwrap();
    database.tag("docker.io/library/a:1", &child.id).unwrap();
    let row = database.image("docker.io/library/a:1").unwrap();
    assert_eq!(row.parent_id, Some(parent));
    assert!(row.tagged_at.is_some());
    child.parent_id = None;
    child.manifest_digest = Some("sha256:m".into());
    database.insert_image(&child, "pull").unwrap();
    let row = database.image(&child.id).unwrap();
    assert!(row.parent_id.is_some(), "an image that is pulled stays what it was made of");
    assert_eq!(row.manifest_digest.as_deref(), Some("sha256:m"));
}
