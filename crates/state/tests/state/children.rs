//! Children that are this same test program, so that processes, not threads, meet in the database.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::{crowd, living};

/// This program again, playing that part at that root.
pub fn child(part: &str, root: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "children::a_part_in_another_test", "--nocapture"]);
    command.env("ROOT", root).env("PART", part).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Does nothing in the first process, where there is no part to play.
#[test]
fn a_part_in_another_test() {
    let Ok(part) = std::env::var("PART") else { return };
    let root = std::env::var_os("ROOT").unwrap();
    let root = Path::new(&root);
    match part.as_str() {
        "one of a crowd" => crowd::one_of_a_crowd(root),
        "writer without end" => crowd::writer_without_end(root),
        "writer on a small disk" => crowd::writer_on_a_small_disk(root),
        "maker" => living::maker(root),
        other => panic!("no such part: {other}"),
    }
}
