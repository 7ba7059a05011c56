//! What the benches share: a repeatable generator of random numbers, the numbers that a table shows of many rounds, and
//! a database.

pub mod postgres;
/// Where programs of a database are found, is known there.
#[path = "../../tests/support/mod.rs"]
mod tests;

/// A repeatable generator of random numbers: a 64-bit LCG, whose high bits are good enough to pick keys.
pub struct Rng(pub u64);

impl Rng {
    /// A random number of 31 bits.
    pub fn next_u31(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    /// Hexadecimal digits: they compress to a half, like the documents we store.
    pub fn text(&mut self, bytes: usize) -> String {
        let digits = |_| char::from(b"0123456789abcdef"[(self.next_u31() % 16) as usize]);
        (0..bytes).map(digits).collect()
    }
}

pub fn median(numbers: impl Iterator<Item = f64>) -> f64 {
    let mut numbers: Vec<_> = numbers.collect();
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

/// The ratios of many rounds in one text: their median, with the least and the most.
pub fn spread(ratios: impl Iterator<Item = f64> + Clone) -> String {
    let (least, most) = (ratios.clone().fold(f64::MAX, f64::min), ratios.clone().fold(0.0, f64::max));
    format!("{:.2} ({least:.2}-{most:.2})", median(ratios))
}
