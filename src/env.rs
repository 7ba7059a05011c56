//! Time and randomness as arguments. A test advances the clock instead of sleeping, and seeds the randomness to repeat
//! a run.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicI64, Ordering},
};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use uuid::Uuid;

/// A source of the time.
#[derive(Clone, Debug)]
pub enum Clock {
    /// The clock of the machine.
    System,
    /// A clock for tests, in milliseconds since the epoch. It stands still until a test advances it.
    Manual(Arc<AtomicI64>),
}

impl Clock {
    /// A clock for tests, set to `start`.
    pub fn manual(start: Timestamp) -> Self {
        Self::Manual(Arc::new(AtomicI64::new(start.as_millisecond())))
    }

    /// Milliseconds since the epoch.
    pub fn now_ms(&self) -> i64 {
        match self {
            #[allow(
                clippy::disallowed_methods,
                reason = "the only place that may read the clock of the machine"
            )]
            Self::System => {
                let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
                since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
            }
            Self::Manual(ms) => ms.load(Ordering::Acquire),
        }
    }

    /// The time, in whole milliseconds. Stored times and times in replies have this precision as well.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now_ms()).unwrap_or(Timestamp::MAX)
    }

    /// Advances a manual clock. Does nothing to a system clock.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(ms) = self {
            ms.fetch_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX), Ordering::AcqRel);
        }
    }

    /// The monotonic clock of the machine, to measure durations. A manual clock returns it as well, because tests do
    /// not simulate durations.
    pub fn instant(&self) -> Instant {
        Instant::now()
    }
}

/// A source of randomness.
#[derive(Clone, Debug)]
pub enum Entropy {
    /// The random number generator of the operating system.
    System,
    /// A repeatable sequence for tests. Not fit for keys.
    Seeded(Arc<Mutex<u64>>),
}

impl Entropy {
    /// The repeatable sequence of this seed.
    pub fn seeded(seed: u64) -> Self {
        Self::Seeded(Arc::new(Mutex::new(seed)))
    }

    /// Random bytes.
    ///
    /// # Panics
    /// If the random number generator of the operating system fails. Predictable ids and salts would not be safe.
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        match self {
            Self::System => {
                getrandom::fill(&mut bytes).expect("the operating system's random number generator works");
            }
            Self::Seeded(state) => {
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                for chunk in bytes.chunks_mut(8) {
                    let word = split_mix(&mut state).to_le_bytes();
                    chunk.copy_from_slice(&word[..chunk.len()]);
                }
            }
        }
        bytes
    }

    /// A random number from 0 (included) to 1 (excluded).
    pub fn fraction(&self) -> f64 {
        f64::from(u32::from_le_bytes(self.bytes())) / (f64::from(u32::MAX) + 1.0)
    }

    /// A random (version 4) UUID.
    pub fn uuid(&self) -> Uuid {
        uuid::Builder::from_random_bytes(self.bytes()).into_uuid()
    }
}

/// The next number of SplitMix64, a published generator with a period of 2^64.
fn split_mix(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    let mut word = *state;
    word = (word ^ (word >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    word = (word ^ (word >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    word ^ (word >> 31)
}
