//! Dollars, and the README's table of them.

use crate::wire::Sent;
use std::path::Path;

/// DynamoDB's price list: on demand, standard tables, us-east-1. Dollars a million request units. A write
/// unit is a kilobyte, doubled in a transaction; a read unit is four kilobytes, half of that where the
/// read may be eventually consistent.
const WRITE_UNITS: f64 = 0.625;
const READ_UNITS: f64 = 0.125;

const BEGIN: &str = "<!-- cost table: begin -->";
const END: &str = "<!-- cost table: end -->";

/// What one answer took.
pub struct Row {
    what: String,
    /// Looks for a cancellation, and rows of deltas: they go with the seconds, not with the answer.
    looks: usize,
    events: usize,
    reads: usize,
    writes: usize,
    read_units: f64,
    write_units: f64,
}

impl Row {
    pub fn new(what: String, sent: &[Sent]) -> Row {
        let is_read = |sent: &&Sent| ["GetItem", "BatchGetItem", "Query"].contains(&sent.operation.as_str());
        let is_look = |sent: &Sent| sent.body["Key"]["sk"]["S"] == "cancel";
        let is_event =
            |sent: &Sent| sent.body["Item"]["sk"]["S"].as_str().is_some_and(|sk| sk.starts_with("event#"));
        let (reads, writes): (Vec<&Sent>, Vec<&Sent>) = sent.iter().partition(is_read);
        let looks = reads.iter().filter(|sent| is_look(sent)).count();
        let events = writes.iter().filter(|sent| is_event(sent)).count();
        let units = |sent: &[&Sent]| sent.iter().map(|sent| sent.units).sum();
        Row {
            what,
            looks,
            events,
            reads: reads.len() - looks,
            writes: writes.len() - events,
            read_units: units(&reads),
            write_units: units(&writes),
        }
    }

    /// Of a thousand such answers.
    pub fn dollars(&self) -> f64 {
        (self.read_units * READ_UNITS + self.write_units * WRITE_UNITS) / 1e3
    }

    fn line(&self) -> String {
        format!(
            "| {} | {} | {} | {} | {} | {} | {} | {:.3} |\n",
            self.what,
            self.reads,
            self.writes,
            self.looks,
            self.events,
            self.read_units,
            self.write_units,
            self.dollars()
        )
    }
}

pub fn text(rows: &[Row]) -> String {
    let head = "| answer | reads | writes | looks for a cancel | rows of deltas | read units | write units \
                | $ per 1,000 |\n|---|---|---|---|---|---|---|---|\n";
    rows.iter().fold(head.to_owned(), |text, row| text + &row.line())
}

/// Holds the README equal to the table; with `UPDATE_README` set it makes it so.
pub fn check_readme(table: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2).unwrap().join("README.md");
    let readme = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = readme.split_once(BEGIN).unwrap_or_else(|| panic!("README.md has no `{BEGIN}`"));
    let (stated, after) = rest.split_once(END).unwrap_or_else(|| panic!("README.md has no `{END}`"));
    if stated.trim() == table.trim() {
        return;
    }
    if std::env::var_os("UPDATE_README").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}\n{table}{END}{after}")).unwrap();
        return;
    }
    panic!(
        "README.md states other costs than answers have. If these are right, run \
         `UPDATE_README=1 cargo test -p gateway --test cost` and commit the README:\n{table}"
    );
}
