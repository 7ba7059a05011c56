//! Reports of simulations: as text, as a page, and as a picture.

use std::fmt::Write as _;

use super::chart::{Chart, Row, STYLE, Series, WIDTH, columns, escape, lines, ranges};
use super::figures::{Figures, Group};
use super::table::{Table, players, summary, tables};

/// Most rows of a chart of ranges. Further sizes and regions are in the tables.
const ROWS_MAX: usize = 24;
/// Most points of a curve.
const POINTS_MAX: usize = 200;
/// Number of columns into which spreads are counted.
const BINS: usize = 10;

const WAIT_AXIS: &str = "seconds in the queue";

/// The style of the page.
const PAGE_STYLE: &str = "\
:root{color-scheme:light dark}body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem;\
background:#fff;color:#1b1f24}table{border-collapse:collapse;margin:.5rem 0 2rem;font-variant-numeric:tabular-nums}\
th,td{padding:.25rem .75rem;border-bottom:1px solid #d0d7de;text-align:right}th.n,td.n{text-align:left}\
div.w{overflow-x:auto}svg.chart{max-width:100%;height:auto;margin:.5rem 0 1.5rem}p.s{color:#57606a}\
@media(prefers-color-scheme:dark){body{background:#0d1117;color:#e6edf3}th,td{border-color:#3d444d}p.s{color:#9198a1}}";

/// The report as text. `about` says what was simulated.
pub fn as_text(about: &str, all: &[Figures]) -> String {
    let mut report = format!("{about}\n");
    for figures in all {
        let _ = writeln!(report, "{}: {}", figures.name, summary(figures));
    }
    for table in tables(all) {
        let _ = write!(report, "\n{}\n{}", table.title, text_table(&table));
    }
    report
}

fn text_table(table: &Table) -> String {
    let all = || std::iter::once(&table.head).chain(&table.rows);
    let width = |column: usize| all().map(|row| row[column].chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..table.head.len()).map(width).collect();
    let mut text = String::new();
    for row in all() {
        let mut line = String::new();
        for (column, (cell, width)) in row.iter().zip(&widths).enumerate() {
            let _ = if column < table.names {
                write!(line, "  {cell:width$}")
            } else {
                write!(line, "  {cell:>width$}")
            };
        }
        text += line.trim_end();
        text += "\n";
    }
    text
}

/// The report as one HTML page that loads nothing.
pub fn as_html(about: &str, all: &[Figures]) -> String {
    let names: Vec<&str> = all.iter().map(|figures| figures.name.as_str()).collect();
    let title = escape(&format!("Matchmaking: {}", names.join(" and ")));
    let mut page = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta name=\"viewport\" \
         content=\"width=device-width, initial-scale=1\"/>\n<title>{title}</title>\n<style>{PAGE_STYLE}\n{STYLE}</style>\n\
         </head>\n<body>\n<h1>{title}</h1>\n<p class=\"s\">{}</p>\n<ul>\n",
        escape(about)
    );
    for figures in all {
        let _ = writeln!(page, "<li>{}: {}</li>", escape(&figures.name), escape(&summary(figures)));
    }
    page += "</ul>\n";
    charts(all).iter().for_each(|chart| page += &chart.svg(0.0));
    tables(all).iter().for_each(|table| page += &html_table(table));
    page + "</body>\n</html>\n"
}

fn html_table(table: &Table) -> String {
    let mut html = format!("<h2>{}</h2>\n<div class=\"w\"><table>\n", escape(table.title));
    let rows = std::iter::once(("th", &table.head)).chain(table.rows.iter().map(|row| ("td", row)));
    for (cell, row) in rows {
        html += "<tr>";
        for (column, text) in row.iter().enumerate() {
            let class = if column < table.names { " class=\"n\"" } else { "" };
            let _ = write!(html, "<{cell}{class}>{}</{cell}>", escape(text));
        }
        html += "</tr>\n";
    }
    html + "</table></div>\n"
}

/// The charts of waits and of spreads alone, as one SVG.
pub fn as_svg(all: &[Figures]) -> String {
    let (mut body, mut y) = (String::new(), 0.0);
    for chart in std::iter::once(curves(all)).chain(spreads(all)) {
        body += &chart.svg(y);
        y += chart.height;
    }
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{WIDTH:.0}\" height=\"{y:.0}\" viewBox=\"0 0 {WIDTH:.0} {y:.0}\">\n\
         <style>{STYLE}</style>\n{body}</svg>\n"
    )
}

fn charts(all: &[Figures]) -> Vec<Chart> {
    let names: Vec<&str> = all.iter().map(|figures| figures.name.as_str()).collect();
    let sizes =
        groups(all, |figures| figures.by_size.iter().map(|(size, group)| (*size, group)).collect(), players);
    let regions = groups(
        all,
        |figures| figures.by_region.iter().map(|(region, group)| (region.clone(), group)).collect(),
        String::clone,
    );
    let by_size = "Wait by size of the party: p50 (dot), p90 (ring), p99 (bar)";
    let by_region = "Wait by region of the party: p50 (dot), p90 (ring), p99 (bar)";
    let all_rows = [(by_size, sizes), (by_region, regions)].into_iter().filter(|(_, rows)| !rows.is_empty());
    let ranges = all_rows.map(|(title, rows)| ranges(title, WAIT_AXIS, &names, &rows));
    std::iter::once(curves(all)).chain(ranges).chain([queue_length(all)]).chain(spreads(all)).collect()
}

/// The share of parties with a match, by their wait.
fn curves(all: &[Figures]) -> Chart {
    let series =
        all.iter().map(|figures| Series { name: figures.name.clone(), points: shares(&figures.all) });
    let title = "Parties that had a match after a wait, in percent";
    lines(title, WAIT_AXIS, &series.collect::<Vec<_>>(), true, Some(100.0))
}

fn queue_length(all: &[Figures]) -> Chart {
    let point = |(ms, count): (&i64, &usize)| (*ms as f64 / 60_000.0, *count as f64);
    let series = all.iter().map(|figures| Series {
        name: figures.name.clone(),
        points: figures.waiting.iter().map(point).collect(),
    });
    lines("Parties that wait", "minutes since the start", &series.collect::<Vec<_>>(), false, None)
}

/// The share of parties, in percent, that had a match after each wait, in seconds.
fn shares(group: &Group) -> Vec<(f64, f64)> {
    let count = group.waits_ms.len();
    let step = count.div_ceil(POINTS_MAX).max(1);
    let at = (0..count).filter(|at| (at + 1).is_multiple_of(step) || at + 1 == count);
    let share = |at: usize| (at + 1) as f64 * 100.0 / group.parties.max(1) as f64;
    let points = at.map(|at| (group.waits_ms[at] as f64 / 1_000.0, share(at)));
    std::iter::once((0.0, 0.0)).chain(points).collect()
}

/// The rows of a chart of ranges: each group with one row for each simulation.
fn groups<K: Ord>(
    all: &[Figures],
    groups: impl for<'a> Fn(&'a Figures) -> Vec<(K, &'a Group)>,
    name: impl Fn(&K) -> String,
) -> Vec<Row> {
    let mut found: Vec<(K, usize, &Group)> = Vec::new();
    for (of, figures) in all.iter().enumerate() {
        found.extend(groups(figures).into_iter().map(|(key, group)| (key, of, group)));
    }
    found.sort_by(|a, b| a.0.cmp(&b.0).then(a.1.cmp(&b.1)));
    let wait = |group: &Group, percent| group.wait_ms(percent).map(|ms| ms as f64 / 1_000.0);
    let row = |(key, of, group): (K, usize, &Group)| Row {
        name: name(&key),
        of,
        values: wait(group, 50)
            .zip(wait(group, 90))
            .zip(wait(group, 99))
            .map(|((p50, p90), p99)| [p50, p90, p99]),
    };
    found.into_iter().take(ROWS_MAX).map(row).collect()
}

/// How close the parties of a match are, of all fields together.
fn spreads(all: &[Figures]) -> Option<Chart> {
    let values = |figures: &Figures| -> Vec<f64> { figures.spreads.values().flatten().copied().collect() };
    if all.iter().all(|figures| values(figures).is_empty()) {
        return None;
    }
    let bins = |figures: &Figures| {
        let (values, mut bins) = (values(figures), vec![0.0; BINS]);
        for value in &values {
            let bin = ((value * BINS as f64) as usize).min(BINS - 1);
            bins[bin] += 100.0 / values.len() as f64;
        }
        (figures.name.clone(), bins)
    };
    let names: Vec<String> = (0..BINS)
        .map(|bin| format!("{:.1}–{:.1}", bin as f64 / BINS as f64, (bin + 1) as f64 / BINS as f64))
        .collect();
    Some(columns(
        "Matches by spread, in percent",
        "spread of a match ÷ last limit of the field",
        &names,
        &all.iter().map(bins).collect::<Vec<_>>(),
    ))
}
