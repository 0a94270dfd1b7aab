//! What the tests share: a database of their own, small rows, and children that are this same test program.

use std::path::Path;

use kapsel_state::{Attributes, Database, Image, Json, Layer, NewContainer, Status};

/// 64 hexadecimal digits that begin with `prefix`.
pub fn id(prefix: &str) -> String {
    format!("{prefix:0<64}")
}

pub fn json(text: &str) -> Json {
    Json::from(serde_json::value::RawValue::from_string(text.to_owned()).unwrap())
}

pub fn open(root: &Path) -> Database {
    Database::open(&root.join("kapsel.db")).unwrap()
}

/// An image `sha256:prefix000…` of one layer, named as given.
pub fn insert_image(database: &mut Database, prefix: &str, layer: &str, references: &[&str]) -> String {
    let image_id = format!("sha256:{}", id(prefix));
    database.insert_layer(&Layer { diff_id: layer.into(), size: 10, unpacked_size: 20 }).unwrap();
    let image = Image {
        id: image_id.clone(),
        manifest_digest: None,
        config: json(r#"{"os":"linux"}"#),
        diff_ids: vec![layer.into()],
        size: 20,
        created_at: None,
        platform: "linux/amd64".into(),
        references: references.iter().map(|name| (*name).to_owned()).collect(),
        parent_id: None,
        tagged_at: None,
    };
    database.insert_image(&image, "load").unwrap();
    image_id
}

pub fn new_container(id: &str, name: &str, image_id: &str, status: Status) -> NewContainer {
    NewContainer {
        id: id.into(),
        name: name.into(),
        status,
        image_id: image_id.into(),
        image: "busybox".into(),
        auto_remove: false,
        labels: Attributes::from([("team".into(), "red".into())]),
        networks: Vec::new(),
        document: json(r#"{"args":["true"]}"#),
    }
}
