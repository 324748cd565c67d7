//! The figures as one Markdown table, each of ours followed by Python's and their ratio.

use crate::functions::Function;
use crate::measure::{Figures, Searched};
use std::fs::metadata;
use testkit::bench::median;

const HEAD: &str = "\
| | start to first event ms | start to first reply ms | CPU ms until then | first reply at 128 MB ms \
| start to first reply, all at 128 MB ms | first chunk after the model's ms | RSS MB | binary MB |
|---|---|---|---|---|---|---|---|---|
";

const SEARCHED_HEAD: &str = "\
| | start to first reply ms | of that in OpenSearch ms | more than without a search, beyond OpenSearch's own time ms |
|---|---|---|---|
";

/// The table.
pub fn of(functions: &[Function], figures: &[Figures]) -> String {
    let mut table = HEAD.to_owned();
    let mut before = [f64::NAN; 8];
    for (function, figures) in functions.iter().zip(figures) {
        let row = medians(function, figures);
        table.push_str(&line(function.name, &row));
        if !function.is_ours() {
            let mut ratio = before;
            ratio.iter_mut().zip(row).for_each(|(ours, theirs)| *ours /= theirs);
            table.push_str(&line("ratio", &ratio));
        }
        before = row;
    }
    table
}

/// The table of starts that search; each is compared with the first.
pub fn searched(functions: &[Function], figures: &[Searched]) -> String {
    let mut table = SEARCHED_HEAD.to_owned();
    let without = figures.first().map_or(f64::NAN, |first| median(&first.reply));
    for (function, figures) in functions.iter().zip(figures) {
        let (reply, server) = (median(&figures.reply), median(&figures.server));
        let (name, more) = (function.name, reply - server - without);
        table.push_str(&format!("| {name} | {reply:.1} | {server:.1} | {more:.1} |\n"));
    }
    table
}

fn medians(function: &Function, figures: &Figures) -> [f64; 8] {
    let samples = [
        &figures.ready,
        &figures.reply,
        &figures.cpu,
        &figures.shared_reply,
        &figures.shared_start,
        &figures.first_chunk,
        &figures.rss,
    ];
    let size = metadata(&function.program).map_or(f64::NAN, |file| file.len() as f64 / 1e6);
    let mut row = [f64::NAN; 8];
    row.iter_mut().zip(samples).for_each(|(cell, sample)| *cell = median(sample));
    // An interpreter's size says nothing of its function's.
    row[7] = if function.is_ours() { size } else { f64::NAN };
    row
}

fn line(name: &str, row: &[f64; 8]) -> String {
    let cells = row.map(|value| match value.is_nan() {
        true => String::new(),
        false if value < 0.1 => format!("{value:.3}"),
        false if value < 10.0 => format!("{value:.2}"),
        false => format!("{value:.1}"),
    });
    format!("| {name} | {} |\n", cells.join(" | "))
}
