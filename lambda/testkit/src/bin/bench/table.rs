//! The figures as one Markdown table.

use crate::measure::Figures;
use crate::targets::Target;
use testkit::bench::median;

const HEAD: &str = "\
| | plain ms | first byte ms | 32-token stream ms | added: plain | first byte | stream \
| CPU ms plain | CPU ms stream | plain/s, 64 connections | ÷ direct | RSS MB idle | after load | 1,000 streams |
|---|---|---|---|---|---|---|---|---|---|---|---|---|---|
";

/// The table, and the time a start takes.
pub fn of(targets: &[Target], figures: &[Figures], start_ms: f64) -> String {
    let Some(direct) = figures.first() else { return String::new() };
    let mut table = HEAD.to_owned();
    for (target, figures) in targets.iter().zip(figures) {
        table.push_str(&row(target, figures, direct));
    }
    if !targets.iter().any(|target| target.name.starts_with("nginx")) {
        table.push_str("\nnginx is not on PATH: the bare hop is left out.\n");
    }
    table + &format!("\nStart to listening: {start_ms:.0} ms.\n")
}

fn row(target: &Target, figures: &Figures, direct: &Figures) -> String {
    let medians = |figures: &Figures| {
        [&figures.plain.whole, &figures.stream.first, &figures.stream.whole].map(|values| median(values))
    };
    let (own, floor) = (medians(figures), medians(direct));
    let is_direct = std::ptr::eq(figures, direct);
    let mut cells = vec![target.name.clone()];
    cells.extend(own.map(|ms| format!("{ms:.2}")));
    for (own, floor) in own.iter().zip(floor) {
        cells.push(if is_direct { "".to_owned() } else { format!("{:.2}", own - floor) });
    }
    cells.push(format!("{:.3}", figures.plain.cpu_each()));
    cells.push(format!("{:.3}", figures.stream.cpu_each()));
    let rate = median(&figures.rate);
    cells.push(format!("{rate:.0}"));
    cells.push(format!("{:.2}", rate / median(&direct.rate)));
    cells.extend(figures.rss.map(|mb| mb.map_or(String::new(), |mb| format!("{mb:.1}"))));
    format!("| {} |\n", cells.join(" | "))
}
