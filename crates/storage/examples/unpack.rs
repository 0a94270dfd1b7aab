//! The unpack verb by itself, for tests and measurements: `unpack [--rootless] [--archive] [--free] [--recipe] DIR < TAR`.
//! `--free`: without confining. `--recipe`: to DIR.recipe, and only with `--free`.
#![allow(clippy::print_stdout, clippy::print_stderr)]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use kapsel_storage::confine::confine;
use kapsel_storage::unpack::{Limits, Mode, Options, unpack};

fn main() -> ExitCode {
    let mut flags: Vec<String> = std::env::args().skip(1).collect();
    let directory = flags.pop().unwrap_or_default();
    let set = |flag: &str| flags.iter().any(|given| given == flag);
    let rootless = set("--rootless");
    let mut options = Options {
        into: PathBuf::from("/"),
        mode: if set("--archive") { Mode::Archive } else { Mode::Layer },
        digest: None,
        diff_id: None,
        rootless,
        limits: Limits::default(),
    };
    let recipe = set("--recipe").then(|| File::create(format!("{directory}.recipe")));
    let Ok(recipe) = recipe.transpose() else { return ExitCode::FAILURE };
    let ready = if set("--free") {
        options.into = PathBuf::from(&directory);
        Ok(())
    } else {
        confine(Path::new(&directory), rootless, 3)
    };
    match ready.and_then(|()| unpack(std::io::stdin(), &options, recipe)) {
        Ok(unpacked) => {
            println!("{}", serde_json::to_string(&unpacked).unwrap_or_default());
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("{} {error}", error.code);
            ExitCode::FAILURE
        }
    }
}
