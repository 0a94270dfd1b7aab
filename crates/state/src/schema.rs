//! The tables, and the way from one version of them to the next. `user_version` says which a file has.

/// Step N takes a file of version N to N + 1; a file of version 0 is new. A published step is never edited.
pub(crate) const STEPS: &[&str] = &[V1, V2, V3];

const V1: &str = "
CREATE TABLE containers (
  id          TEXT PRIMARY KEY,
  name        TEXT NOT NULL UNIQUE,
  status      TEXT NOT NULL CHECK (status IN ('created', 'starting', 'running', 'paused', 'exited')),
  image_id    TEXT NOT NULL,
  image       TEXT NOT NULL,
  layers      TEXT NOT NULL,           -- JSON array of diffIDs; '[]': those of its image, while that is there
  labels      TEXT NOT NULL,           -- JSON object
  auto_remove INTEGER NOT NULL,
  created_at  TEXT NOT NULL,
  started_at  TEXT,
  finished_at TEXT,
  pid         INTEGER,
  exit_code   INTEGER,
  oom_killed  INTEGER NOT NULL DEFAULT 0,
  error       TEXT,
  document    TEXT NOT NULL            -- JSON, the engine's own
) STRICT;

-- Who may be alive, and who should have vanished: nearly always empty, so that asking costs nothing. A query uses
-- it by saying the same, see `reconcile`.
CREATE INDEX containers_watched ON containers (id)
  WHERE status IN ('starting', 'running', 'paused') OR (status = 'exited' AND auto_remove = 1);

CREATE TABLE images (
  id              TEXT PRIMARY KEY,
  manifest_digest TEXT,
  config          TEXT NOT NULL,       -- JSON
  diff_ids        TEXT NOT NULL,       -- JSON array, lowest first
  size            INTEGER NOT NULL,
  created_at      TEXT,
  platform        TEXT NOT NULL
) STRICT;

CREATE TABLE image_references (
  name     TEXT PRIMARY KEY,
  image_id TEXT NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX image_references_image ON image_references (image_id);

CREATE TABLE layers (
  diff_id       TEXT PRIMARY KEY,
  size          INTEGER NOT NULL,
  unpacked_size INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE volumes (
  name       TEXT PRIMARY KEY,
  labels     TEXT NOT NULL,            -- JSON object
  created_at TEXT NOT NULL
) STRICT, WITHOUT ROWID;

-- Only the oldest are ever deleted, so a seq is never given twice without AUTOINCREMENT's extra page.
CREATE TABLE events (
  seq        INTEGER PRIMARY KEY,
  time       TEXT NOT NULL,
  kind       TEXT NOT NULL,
  action     TEXT NOT NULL,
  id         TEXT NOT NULL,
  attributes TEXT NOT NULL             -- JSON object
) STRICT;
";

const V2: &str = "
ALTER TABLE images ADD COLUMN parent_id TEXT;    -- the image that `commit` made it from
ALTER TABLE images ADD COLUMN tagged_at TEXT;

-- In which compressed forms a layer is known, and where they are: push and copy need not send what is there. A form
-- that kapsel has written itself and no registry has is of no registry and no repository.
CREATE TABLE layer_sources (
  diff_id    TEXT NOT NULL,
  digest     TEXT NOT NULL,
  size       INTEGER NOT NULL,
  media_type TEXT NOT NULL,
  registry   TEXT NOT NULL,
  repository TEXT NOT NULL,
  PRIMARY KEY (diff_id, digest, registry, repository)
) STRICT, WITHOUT ROWID;
";

const V3: &str = "
CREATE TABLE networks (
  id         TEXT PRIMARY KEY,
  name       TEXT NOT NULL UNIQUE,
  driver     TEXT NOT NULL,
  interface  TEXT UNIQUE,              -- the host's, where the network has one
  labels     TEXT NOT NULL,            -- JSON object
  created_at TEXT NOT NULL,
  document   TEXT NOT NULL             -- JSON, the engine's own
) STRICT;

-- Who is on which network, running or not.
CREATE TABLE endpoints (
  network_id   TEXT NOT NULL,
  container_id TEXT NOT NULL,
  document     TEXT NOT NULL,          -- JSON, the engine's own
  UNIQUE (network_id, container_id)
) STRICT;
CREATE INDEX endpoints_container ON endpoints (container_id);

-- Addresses, as numbers within their subnet, for the time of a life.
CREATE TABLE leases (
  network_id   TEXT NOT NULL,
  subnet       INTEGER NOT NULL,       -- which of the network's
  number       INTEGER NOT NULL,
  container_id TEXT NOT NULL,
  PRIMARY KEY (network_id, subnet, number)
) STRICT, WITHOUT ROWID;
CREATE INDEX leases_container ON leases (container_id);

-- The number given last.
CREATE TABLE lease_cursors (
  network_id TEXT NOT NULL,
  subnet     INTEGER NOT NULL,
  number     INTEGER NOT NULL,
  PRIMARY KEY (network_id, subnet)
) STRICT, WITHOUT ROWID;

-- Published ports, for the time of a life. Every address: 0.0.0.0 or ::.
CREATE TABLE ports (
  protocol       TEXT NOT NULL,
  address        TEXT NOT NULL,
  port           INTEGER NOT NULL,
  container_id   TEXT NOT NULL,
  container_port INTEGER NOT NULL,
  PRIMARY KEY (protocol, address, port)
) STRICT, WITHOUT ROWID;
CREATE INDEX ports_container ON ports (container_id);
";

#[cfg(test)]
mod tests {
    use super::V1;
    use crate::Database;

    #[test]
    fn a_database_of_the_first_version_keeps_its_images() {
        let root = tempfile::tempdir().unwrap();
        let path = root.path().join("kapsel.db");
        let old = rusqlite::Connection::open(&path).unwrap();
        old.execute_batch(V1).unwrap();
        old.execute_batch(
            "INSERT INTO images VALUES ('sha256:a', NULL, '{}', '[]', 1, NULL, 'linux/amd64');
             PRAGMA user_version = 1",
        )
        .unwrap();
        drop(old);
        let database = Database::open(&path).unwrap();
        let image = &database.images().unwrap()[0];
        assert_eq!((image.id.as_str(), &image.parent_id, &image.tagged_at), ("sha256:a", &None, &None));
        assert!(database.layer_sources("sha256:l").unwrap().is_empty());
    }
}
