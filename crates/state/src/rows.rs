//! The rows as values; their JSON is what TypeScript sees (src/native/rows.ts is the twin).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// JSON that is kept as it came.
pub type Json = Box<RawValue>;

/// Names to values, in order.
pub type Attributes = BTreeMap<String, String>;

/// Where a container is in its life (ARCHITECTURE.md, "Life of a container").
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It has a row and nothing else.
    Created,
    /// Its lock is held; the monitor is being started.
    Starting,
    /// Its program runs.
    Running,
    /// Its program is frozen.
    Paused,
    /// It has ended, or never started.
    Exited,
}

impl Status {
    /// The word in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Exited => "exited",
        }
    }

    /// Whether a monitor should be holding its lock.
    #[must_use]
    pub fn is_living(self) -> bool {
        matches!(self, Self::Starting | Self::Running | Self::Paused)
    }
}

/// A container before it has a life.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewContainer {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique among containers.
    pub name: String,
    /// [`Status::Created`], or [`Status::Starting`] where the caller holds the lock.
    pub status: Status,
    /// `sha256:…` of the image's config.
    pub image_id: String,
    /// What the user called the image.
    pub image: String,
    /// `--rm`.
    pub auto_remove: bool,
    /// The user's labels; they go into every event's attributes.
    #[serde(default)]
    pub labels: Attributes,
    /// The networks it is on, and what is the engine's own about each.
    #[serde(default)]
    pub networks: Vec<(String, Json)>,
    /// The engine's own.
    pub document: Json,
}

/// A container's row.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Container {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique among containers.
    pub name: String,
    /// As last recorded.
    pub status: Status,
    /// `sha256:…` of the image's config.
    pub image_id: String,
    /// What the user called the image.
    pub image: String,
    /// JSON array of the diffIDs under its root, lowest first.
    pub layers: Json,
    /// JSON object of the user's labels.
    pub labels: Json,
    /// `--rm`.
    pub auto_remove: bool,
    /// When the row was made.
    pub created_at: String,
    /// When its last life began.
    pub started_at: Option<String>,
    /// When its last life ended.
    pub finished_at: Option<String>,
    /// Its PID 1 as the host sees it, while it lives.
    pub pid: Option<i64>,
    /// Of its last life.
    pub exit_code: Option<i64>,
    /// Whether the kernel killed it for want of memory.
    pub oom_killed: bool,
    /// Why its last start failed.
    pub error: Option<String>,
    /// The engine's own.
    pub document: Json,
}

/// How a life ended; the form of exit.json too.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Exit {
    /// 0 to 255; 128 + the signal's number where one ended it.
    pub exit_code: i64,
    /// The signal's number, where one ended it.
    pub signal: Option<i64>,
    /// Whether the kernel killed it for want of memory.
    #[serde(default)]
    pub oom_killed: bool,
    /// When its program began, where it did.
    pub started_at: Option<String>,
    /// When it ended.
    pub finished_at: Option<String>,
    /// Why it never started.
    pub error: Option<String>,
}

/// An image's row together with its references.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Image {
    /// `sha256:…` of its config.
    pub id: String,
    /// `sha256:…` of its manifest, where it came with one.
    pub manifest_digest: Option<String>,
    /// The OCI image config.
    pub config: Json,
    /// Lowest first.
    pub diff_ids: Vec<String>,
    /// Bytes on disk, unpacked.
    pub size: i64,
    /// When it was made, as its config says.
    pub created_at: Option<String>,
    /// `os/architecture[/variant]`.
    pub platform: String,
    /// Normalised names, sorted.
    pub references: Vec<String>,
    /// The image that a container was made of whose changes are this one's top layer; it need not be here any more.
    #[serde(default)]
    pub parent_id: Option<String>,
    /// When it was last given a name: set by the database.
    #[serde(default)]
    pub tagged_at: Option<String>,
}

/// A layer's row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Layer {
    /// `sha256:…` of its uncompressed tar.
    pub diff_id: String,
    /// Bytes as it came.
    pub size: i64,
    /// Bytes of its tree.
    pub unpacked_size: i64,
}

/// A compressed form of a layer, and a repository that has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LayerSource {
    /// `sha256:…` of the uncompressed tar.
    pub diff_id: String,
    /// `sha256:…` of the blob.
    pub digest: String,
    /// Bytes of the blob.
    pub size: i64,
    /// The blob's media type.
    pub media_type: String,
    /// `host[:port]`; empty where kapsel wrote it and no registry is known to have it.
    pub registry: String,
    /// The path within the registry; empty as above.
    pub repository: String,
}

/// A volume before it has a time.
#[derive(Debug, Clone, Deserialize)]
pub struct NewVolume {
    /// Unique among volumes.
    pub name: String,
    /// The user's labels.
    #[serde(default)]
    pub labels: Attributes,
}

/// A volume's row.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Volume {
    /// Unique among volumes.
    pub name: String,
    /// JSON object of the user's labels.
    pub labels: Json,
    /// When the row was made.
    pub created_at: String,
}

/// A network before it has a time.
#[derive(Debug, Clone, Deserialize)]
pub struct NewNetwork {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique among networks.
    pub name: String,
    /// `bridge`, `macvlan`.
    pub driver: String,
    /// The host's interface, unique among networks, where it has one.
    pub interface: Option<String>,
    /// The user's labels.
    #[serde(default)]
    pub labels: Attributes,
    /// The engine's own.
    pub document: Json,
}

/// A network's row.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Network {
    /// 64 hexadecimal digits.
    pub id: String,
    /// Unique among networks.
    pub name: String,
    /// `bridge`, `macvlan`.
    pub driver: String,
    /// The host's interface, where it has one.
    pub interface: Option<String>,
    /// JSON object of the user's labels.
    pub labels: Json,
    /// When the row was made.
    pub created_at: String,
    /// The engine's own.
    pub document: Json,
}

/// A container that is to be on a network.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct NewEndpoint {
    /// The network's full id.
    pub network_id: String,
    /// The container's full id.
    pub container_id: String,
    /// The engine's own.
    pub document: Json,
}

/// A container on a network.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Endpoint {
    /// The network's full id.
    pub network_id: String,
    /// The container's full id.
    pub container_id: String,
    /// The engine's own.
    pub document: Json,
    /// JSON object: which subnet → the address's number in it. Empty while the container does not run.
    pub leases: Json,
}

/// An address that a container wants of a subnet: a number, counted from the subnet's first address.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AddressWanted {
    /// The network's full id.
    pub network_id: String,
    /// Which of the network's subnets.
    pub subnet: i64,
    /// The lowest that may be given unasked.
    pub first: i64,
    /// The highest that may be given unasked.
    pub last: i64,
    /// Never given unasked: the gateway's.
    #[serde(default)]
    pub reserved: Vec<i64>,
    /// This one and no other.
    pub exactly: Option<i64>,
}

/// A port of the host that leads to a container.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Port {
    /// `tcp`, `udp`, `sctp`.
    pub protocol: String,
    /// Of the host; every one of a family: `0.0.0.0`, `::`.
    pub address: String,
    /// 1 to 65535.
    pub port: u16,
    /// The container's.
    pub container_port: u16,
}

/// A port of the host that a container wants, of every one of its `addresses`: the first that is free from `begin` on to
/// `last`, and then from `first` on.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PortWanted {
    /// As [`Port::protocol`].
    pub protocol: String,
    /// As [`Port::address`].
    pub addresses: Vec<String>,
    /// The lowest that may be given.
    pub first: u16,
    /// The highest that may be given.
    pub last: u16,
    /// Where to look first.
    pub begin: u16,
    /// The container's.
    pub container_port: u16,
}

/// What a container has been given for the time of its life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Leased {
    /// Numbers of addresses in the order in which they were asked for.
    pub addresses: Vec<i64>,
    /// Ports in that order, each of all its addresses.
    pub ports: Vec<Port>,
}

/// An event before it has a number and a time.
#[derive(Debug, Clone, Deserialize)]
pub struct NewEvent {
    /// `container`, `image`, `network` or `volume`.
    pub kind: String,
    /// Docker's word.
    pub action: String,
    /// Of what it is about.
    pub id: String,
    /// What more there is to say.
    #[serde(default)]
    pub attributes: Attributes,
}

/// An event's row.
#[derive(Debug, Clone, Serialize)]
pub struct Event {
    /// Grows with every event, never given twice.
    pub seq: i64,
    /// When it was recorded.
    pub time: String,
    /// `container`, `image`, `network` or `volume`.
    pub kind: String,
    /// Docker's word.
    pub action: String,
    /// Of what it is about.
    pub id: String,
    /// JSON object.
    pub attributes: Json,
}

/// Which events are wanted.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub struct EventFilter {
    /// Only those with a greater seq.
    pub after: i64,
    /// Not before this time.
    pub since: Option<String>,
    /// Not after this time.
    pub until: Option<String>,
    /// At most so many.
    pub limit: Option<i64>,
}

/// What [`Database::reconcile`](crate::Database::reconcile) found.
#[derive(Debug, Default, Serialize)]
pub struct Reconciled {
    /// Dead containers whose run directory is still there, as they are now: to be reaped.
    pub died: Vec<Container>,
    /// Dead containers of `--rm`: to be removed with everything they had.
    pub remove: Vec<Container>,
    /// Ids of run directories without a row; they have been removed.
    pub strays: Vec<String>,
}
