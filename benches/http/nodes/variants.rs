//! The variants that a table compares: measured in rounds, and printed.

use std::time::Duration;

use super::pgbench::Pgbench;
use crate::load::Sample;
use crate::process::{Process, cpu_time_with_children_s};
use crate::support::postgres::Cluster;
use crate::support::{median, spread};

/// The load of a variant.
pub enum Callers {
    Process(Process),
    Pgbench(Pgbench),
}

/// A variant: its name in the table, and its callers.
pub struct Variant {
    pub name: String,
    pub callers: Callers,
}

/// One cell of the measurement.
pub struct Cell {
    pub sample: Sample,
    /// CPU time of the database's processes for each answer, in microseconds.
    pub database_cpu_us: f64,
}

impl Cell {
    /// CPU time of nodes and database together for each answer, in microseconds.
    pub fn cpu_us(&self) -> f64 {
        self.sample.cpu_us + self.database_cpu_us
    }
}

impl Variant {
    pub fn new(name: impl Into<String>, process: Process) -> Self {
        Self { name: name.into(), callers: Callers::Process(process) }
    }

    pub fn measure(&mut self, cluster: &Cluster, time: Duration) -> Cell {
        let before_s = cpu_time_with_children_s(cluster.pid);
        let sample = match &mut self.callers {
            Callers::Process(process) => process.measure(time),
            Callers::Pgbench(pgbench) => pgbench.measure(time),
        };
        let cpu_s = cpu_time_with_children_s(cluster.pid) - before_s;
        Cell { sample, database_cpu_us: cpu_s * 1e6 / sample.answers as f64 }
    }
}

/// Short cells of all variants in turn. Each round begins with another variant, so that a slow moment of the machine
/// affects all of them. Returns the cells of each round, in the order of the variants.
pub fn rounds(variants: &mut [Variant], cluster: &Cluster, rounds: usize, time: Duration) -> Vec<Vec<Cell>> {
    let count = variants.len();
    let round = |round: usize| {
        let mut cells: Vec<_> = (0..count)
            .map(|turn| (round + turn) % count)
            .map(|index| (index, variants[index].measure(cluster, time)))
            .collect();
        cells.sort_by_key(|(index, _)| *index);
        cells.into_iter().map(|(_, cell)| cell).collect()
    };
    (0..rounds).map(round).collect()
}

/// A column with ratios: its name, the number, and the index of the variant that is the baseline.
pub struct Ratio {
    pub name: &'static str,
    pub of: fn(&Cell) -> f64,
    pub to: usize,
}

/// Prints a table: medians of the rounds, and ratios as the median of the ratios in each round, with minimum and
/// maximum.
pub fn print(title: &str, variants: &[Variant], rounds: &[Vec<Cell>], ratios: &[Ratio]) {
    let names = ratios.iter().map(|ratio| format!(" {} |", ratio.name));
    println!(
        "\n| {title} | answers/s | p50 µs | p99 µs | nodes' CPU µs | database's CPU µs |{}",
        names.collect::<String>()
    );
    println!("| --- |{}", " --: |".repeat(5 + ratios.len()));
    for (index, variant) in variants.iter().enumerate() {
        let of = |number: fn(&Cell) -> f64| median(rounds.iter().map(|round| number(&round[index])));
        let numbers: [fn(&Cell) -> f64; 5] = [
            |cell| cell.sample.per_second,
            |cell| cell.sample.p50_us,
            |cell| cell.sample.p99_us,
            |cell| cell.sample.cpu_us,
            |cell| cell.database_cpu_us,
        ];
        let numbers = numbers.map(|number| format!(" {} |", shown(of(number)))).concat();
        let ratio = |ratio: &Ratio| {
            let of_round = |round: &Vec<Cell>| (ratio.of)(&round[index]) / (ratio.of)(&round[ratio.to]);
            if index == ratio.to {
                "  |".into()
            } else {
                format!(" {} |", spread(rounds.iter().map(of_round)))
            }
        };
        println!("| {} |{numbers}{}", variant.name, ratios.iter().map(ratio).collect::<String>());
    }
}

/// Formats a number with its significant digits; empty for zero and NaN.
pub fn shown(number: f64) -> String {
    match number {
        _ if number.is_nan() || number == 0.0 => String::new(),
        0.0..100.0 => format!("{number:.1}"),
        0.0..10_000.0 => thousands(number.round() as u64),
        _ => thousands((number / 100.0).round() as u64 * 100),
    }
}

fn thousands(number: u64) -> String {
    if number < 1_000 {
        number.to_string()
    } else {
        format!("{},{:03}", thousands(number / 1_000), number % 1_000)
    }
}
