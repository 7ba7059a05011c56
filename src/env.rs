//! Time and randomness as arguments. A test advances the clock instead of sleeping, and seeds the randomness to repeat
//! a run.

use std::sync::{
    Arc, LazyLock, Mutex, PoisonError,
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
    /// A clock for tests. It stands still until a test advances it.
    Manual(Arc<ManualClock>),
}

/// The time of a [`Clock::Manual`].
#[derive(Debug)]
pub struct ManualClock {
    /// The wall clock, in milliseconds since the epoch.
    now_ms: AtomicI64,
    /// The monotonic clock, in milliseconds since the start.
    up_ms: AtomicI64,
}

/// A moment, by two clocks. The wall clock can be set, forward and back. The monotonic clock cannot, but it can stand
/// still while the machine sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClockReading {
    /// The wall clock: milliseconds since the epoch.
    pub now_ms: i64,
    /// The monotonic clock: milliseconds since the start of the process.
    pub up_ms: i64,
}

/// The zero of the monotonic clock.
static STARTED: LazyLock<Instant> = LazyLock::new(Instant::now);

impl Clock {
    /// A clock for tests, set to `start`.
    pub fn manual(start: Timestamp) -> Self {
        let now_ms = AtomicI64::new(start.as_millisecond());
        Self::Manual(Arc::new(ManualClock { now_ms, up_ms: AtomicI64::new(0) }))
    }

    /// The wall clock: milliseconds since the epoch.
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
            Self::Manual(clock) => clock.now_ms.load(Ordering::Acquire),
        }
    }

    /// The monotonic clock: milliseconds since the start of the process. Use it for everything that is neither stored
    /// nor shown: nobody can set it.
    pub fn up_ms(&self) -> i64 {
        match self {
            Self::System => i64::try_from(STARTED.elapsed().as_millis()).unwrap_or(i64::MAX),
            Self::Manual(clock) => clock.up_ms.load(Ordering::Acquire),
        }
    }

    /// The current time by both clocks.
    pub fn read(&self) -> ClockReading {
        ClockReading { now_ms: self.now_ms(), up_ms: self.up_ms() }
    }

    /// The time, in whole milliseconds. Stored times and times in replies have this precision as well.
    pub fn now(&self) -> Timestamp {
        Timestamp::from_millisecond(self.now_ms()).unwrap_or(Timestamp::MAX)
    }

    /// Advances a manual clock. Does nothing to a system clock.
    pub fn advance(&self, by: Duration) {
        if let Self::Manual(clock) = self {
            let by_ms = i64::try_from(by.as_millis()).unwrap_or(i64::MAX);
            clock.up_ms.fetch_add(by_ms, Ordering::AcqRel);
            clock.now_ms.fetch_add(by_ms, Ordering::AcqRel);
        }
    }

    /// Sets the wall clock of a manual clock forward, or back if `by_ms` is negative. The monotonic clock does not
    /// move. Does nothing to a system clock.
    pub fn step(&self, by_ms: i64) {
        if let Self::Manual(clock) = self {
            clock.now_ms.fetch_add(by_ms, Ordering::AcqRel);
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

    /// A sequence beside this one, which takes nothing from it.
    #[must_use]
    pub fn beside(&self) -> Self {
        match self {
            Self::System => Self::System,
            Self::Seeded(state) => {
                let state = *state.lock().unwrap_or_else(PoisonError::into_inner);
                Self::seeded(!state)
            }
        }
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
