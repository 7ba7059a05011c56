//! The figures as tables, for one simulation or for several side by side.

use super::figures::{Figures, Group, percentile};

/// A table of texts. The first column is aligned to the left, the others to the right.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    pub(super) title: &'static str,
    pub(super) head: Vec<String>,
    pub(super) rows: Vec<Vec<String>>,
    /// Number of columns that are aligned to the left.
    pub(super) names: usize,
}

/// What stands for a figure that there is not.
const NONE: &str = "–";

/// All tables. With several simulations, each row names the configuration.
pub(super) fn tables(all: &[Figures]) -> Vec<Table> {
    let mut tables = vec![waits(all), quality(all)];
    tables.extend(obstacles(all));
    tables.extend(refused(all));
    tables
}

/// Starts a table: the first column, and the configurations, if there are several.
fn table(title: &'static str, first: &str, all: &[Figures], columns: &[&str]) -> Table {
    let configuration = (all.len() > 1).then_some("configuration");
    let head = std::iter::once(first).chain(configuration).chain(columns.iter().copied());
    Table {
        title,
        head: head.map(str::to_owned).collect(),
        rows: Vec::new(),
        names: 1 + usize::from(configuration.is_some()),
    }
}

impl Table {
    fn add(&mut self, name: &str, figures: &Figures, cells: impl IntoIterator<Item = String>) {
        let configuration = (self.names > 1).then(|| figures.name.clone());
        let row = std::iter::once(name.to_owned()).chain(configuration).chain(cells);
        self.rows.push(row.collect());
    }
}

fn waits(all: &[Figures]) -> Table {
    let columns =
        ["parties", "players", "matched", "p50", "p90", "p99", "longest", "timed out", "waiting at the end"];
    let mut table = table("How long parties waited for a match", "party", all, &columns);
    for figures in all {
        table.add("all", figures, wait_cells(&figures.all));
    }
    for (size, name) in names(all, |figures| figures.by_size.keys().copied().collect(), players) {
        for figures in all {
            let group = figures.by_size.get(&size).cloned().unwrap_or_default();
            table.add(&name, figures, wait_cells(&group));
        }
    }
    for (region, name) in
        names(all, |figures| figures.by_region.keys().cloned().collect(), |region| format!("from {region}"))
    {
        for figures in all {
            let group = figures.by_region.get(&region).cloned().unwrap_or_default();
            table.add(&name, figures, wait_cells(&group));
        }
    }
    table
}

/// Every key that one of the simulations has, in order, with its name.
fn names<K: Ord>(
    all: &[Figures],
    keys: impl Fn(&Figures) -> Vec<K>,
    name: impl Fn(&K) -> String,
) -> Vec<(K, String)> {
    let mut found: Vec<K> = all.iter().flat_map(keys).collect();
    found.sort_unstable();
    found.dedup();
    found
        .into_iter()
        .map(|key| {
            let name = name(&key);
            (key, name)
        })
        .collect()
}

/// The name of parties of so many players.
pub(super) fn players(count: &usize) -> String {
    if *count == 1 { "1 player".into() } else { format!("{count} players") }
}

fn wait_cells(group: &Group) -> Vec<String> {
    let wait = |percent| group.wait_ms(percent).map_or(NONE.into(), seconds);
    let waiting = match group.waiting {
        0 => "0".into(),
        count => format!("{} (up to {})", number(count), seconds(group.longest_waiting_ms)),
    };
    vec![
        number(group.parties),
        number(group.players),
        group.matched().map_or(NONE.into(), percent),
        wait(50),
        wait(90),
        wait(99),
        wait(100),
        number(group.timed_out),
        waiting,
    ]
}

fn quality(all: &[Figures]) -> Table {
    let mut table = table("How well parties of a match fit", "measure", all, &["p50", "p90", "p99", "worst"]);
    let fields = names(
        all,
        |figures| figures.spreads.keys().cloned().collect(),
        |field| format!("{field}: spread ÷ last limit"),
    );
    let three = |values: &[f64]| {
        let cell = |percent| percentile(values, percent).map_or(NONE.into(), |value| format!("{value:.2}"));
        [50, 90, 99, 100].map(cell)
    };
    for (field, name) in fields {
        for figures in all {
            table.add(&name, figures, three(figures.spreads.get(&field).map_or(&[][..], Vec::as_slice)));
        }
    }
    for figures in all.iter().filter(|figures| figures.side_skill.iter().any(|skill| *skill > 0.0)) {
        table.add("mean skill of a side: difference", figures, three(&figures.side_skill));
    }
    for figures in all {
        let sizes: Vec<f64> = figures
            .side_sizes
            .iter()
            .flat_map(|(size, count)| std::iter::repeat_n(*size as f64, *count))
            .collect();
        table.add("players of a side: difference", figures, three(&sizes));
    }
    table
}

fn obstacles(all: &[Figures]) -> Option<Table> {
    let columns = ["timed out", "waiting at the end"];
    let mut table = table("Why parties got no match", "why", all, &columns);
    for (why, name) in names(all, |figures| figures.obstacles.keys().cloned().collect(), String::clone) {
        for figures in all {
            let counts = figures.obstacles.get(&why).copied().unwrap_or_default();
            table.add(&name, figures, counts.map(number));
        }
    }
    (!table.rows.is_empty()).then_some(table)
}

fn refused(all: &[Figures]) -> Option<Table> {
    let mut table = table("Parties that could not join a queue", "error code", all, &["parties"]);
    for (code, name) in
        names(all, |figures| figures.refused.keys().copied().collect(), |code: &&str| (*code).to_owned())
    {
        for figures in all {
            table.add(&name, figures, [number(figures.refused.get(code).copied().unwrap_or_default())]);
        }
    }
    (!table.rows.is_empty()).then_some(table)
}

/// A sentence about the matches of a simulation.
pub(super) fn summary(figures: &Figures) -> String {
    let summary = summary_of_matches(figures);
    match figures.all.left {
        0 => summary,
        left => format!("{summary}; {} parties left their queues without a match", number(left)),
    }
}

fn summary_of_matches(figures: &Figures) -> String {
    let Figures { matches, full_matches, mean_players, own_region, all, passes, .. } = figures;
    if *matches == 0 {
        return format!("no match in {} passes", number(*passes));
    }
    let full = percent(*full_matches as f64 / *matches as f64);
    let mut text = format!(
        "{} {}: {full} were full at once, with {mean_players:.1} players on average",
        number(*matches),
        if *matches == 1 { "match" } else { "matches" }
    );
    if all.backfilled > 0 {
        text += &format!("; {} parties joined a match that had begun", number(all.backfilled));
    }
    if let Some(own) = own_region {
        text += &format!("; {} of the parties played in their own region", percent(*own));
    }
    text + &format!("; {} passes", number(*passes))
}

/// A number with its thousands apart.
pub(super) fn number(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Milliseconds as seconds.
pub(super) fn seconds(ms: i64) -> String {
    format!("{:.1} s", ms as f64 / 1_000.0)
}

/// A share as percent. Only nothing is shown as 0.0 %, and only all as 100.0 %.
pub(super) fn percent(share: f64) -> String {
    let shown = (share * 1_000.0).round() / 10.0;
    let shown = if share > 0.0 && share < 1.0 { shown.clamp(0.1, 99.9) } else { shown };
    format!("{shown:.1} %")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_written_for_people() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(number), ["0", "999", "1,000", "1,234,567"]);
        assert_eq!([0, 250, 61_049].map(seconds), ["0.0 s", "0.2 s", "61.0 s"]);
        assert_eq!(
            [0.0, 0.000_1, 0.5, 0.999_9, 1.0].map(percent),
            ["0.0 %", "0.1 %", "50.0 %", "99.9 %", "100.0 %"]
        );
    }
}
