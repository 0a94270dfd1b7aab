//! `list`: every container of the root.

use super::arguments::{Arguments, Flag, switch, usage, value};
use super::container::look;
use super::state::Report;
use super::{Context, container};
use crate::error::Result;
use crate::{ExitCode, output, print};

/// The flags.
pub const FLAGS: &[Flag] = &[value("format").short('f'), switch("quiet").short('q')];

/// As a table, as JSON, or as ids only.
pub fn list(context: &Context, arguments: &Arguments) -> Result<ExitCode> {
    let ids = context.store.ids()?;
    if arguments.has("quiet") {
        return print(ids.iter().map(|id| format!("{id}\n")).collect::<String>().as_bytes());
    }
    // One that vanishes meanwhile, or is not finished, is not listed.
    let report = |id: &String| {
        let (record, status) = look(&context.store, id).ok()?;
        Some(Report::new(record, status, context.store.owner(id)))
    };
    let reports: Vec<Report> = ids.iter().filter_map(report).collect();
    match arguments.text("format")? {
        // Go writes an empty list as null.
        Some("json") if reports.is_empty() => print(b"null\n"),
        Some("json") => output(&reports),
        None | Some("table" | "") => print(table(&reports).as_bytes()),
        Some(other) => Err(usage(format!("--format {other:?} is neither table nor json"))),
    }
}

fn table(reports: &[Report]) -> String {
    let heads = ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"].map(str::to_owned);
    let mut rows = vec![heads];
    rows.extend(reports.iter().map(|report| {
        [
            report.id.clone(),
            report.pid.to_string(),
            container::word(report.status).to_owned(),
            report.bundle.display().to_string(),
            report.created.clone(),
            report.owner.clone(),
        ]
    }));
    let width = |column: usize| {
        rows.iter().map(|row| row[column].chars().count()).max().unwrap_or_default().max(9) + 3
    };
    let widths: [usize; 6] = std::array::from_fn(width);
    let line = |row: &[String; 6]| {
        let cells: String =
            row.iter().zip(widths).take(5).map(|(cell, width)| format!("{cell:<width$}")).collect();
        format!("{cells}{}\n", row[5])
    };
    rows.iter().map(line).collect()
}
