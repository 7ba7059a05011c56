//! Counts the memory of heads that have not arrived whole.

use std::io;
use std::sync::Arc;

use super::state::ConnectionState;
use crate::http::memory::{Charge, MemoryBudget, UNCOUNTED_BYTES_MAX};

/// Memory of the head that is arriving on a connection. A short head is not counted: it arrives whole, and is answered
/// at once.
#[derive(Default)]
pub struct HeadMeter {
    /// Number of the request, from 0.
    request: u64,
    bytes: usize,
    charge: Option<Charge>,
}

impl HeadMeter {
    /// Adds bytes that were read, unless they belong to a body.
    ///
    /// # Errors
    /// If no memory is left for the head. The connection then ends.
    pub fn add(
        &mut self,
        bytes: usize,
        state: &ConnectionState,
        memory: Option<&Arc<MemoryBudget>>,
    ) -> io::Result<()> {
        let request = state.requests();
        if request != self.request {
            self.forget();
            self.request = request;
        }
        self.bytes += bytes;
        if self.bytes <= UNCOUNTED_BYTES_MAX || request != state.responses_taken() {
            return Ok(());
        }
        // A buffer that grows doubles its size.
        let fits = match (&mut self.charge, memory) {
            (_, None) => true,
            (Some(charge), _) => charge.try_grow(2 * bytes),
            (charge @ None, Some(memory)) => {
                *charge = memory.try_charge(2 * self.bytes);
                charge.is_some()
            }
        };
        if fits { Ok(()) } else { Err(io::ErrorKind::OutOfMemory.into()) }
    }

    /// Notes that the head was answered.
    pub fn forget(&mut self) {
        if self.bytes > 0 {
            (self.bytes, self.charge) = (0, None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::connection::state::InFlightGuard;
    use crate::telemetry::Metrics;

    #[test]
    fn long_heads_are_counted_until_they_are_answered() {
        let metrics = Arc::<Metrics>::default();
        let memory = MemoryBudget::new(30_000, Arc::clone(&metrics));
        let (mut meter, state) = (HeadMeter::default(), Arc::<ConnectionState>::default());
        let mut add = |bytes, state: &ConnectionState| {
            let added = meter.add(bytes, state, Some(&memory)).is_ok();
            (added, metrics.memory_in_flight.get())
        };
        assert_eq!(add(4096, &state), (true, 0));
        assert_eq!(add(4, &state), (true, 8200));
        assert_eq!(add(10_000, &state), (true, 28_200));
        assert_eq!(add(1_000, &state), (false, 28_200));
        // The body of the request, which is counted where it is read.
        state.note_service_request();
        assert_eq!(add(100_000, &state), (true, 0));
        // The head of the next one.
        drop(InFlightGuard::new(&state));
        state.note_service_request();
        drop(InFlightGuard::new(&state));
        assert_eq!(add(5_000, &state), (true, 10_000));
        meter.forget();
        assert_eq!(metrics.memory_in_flight.get(), 0);
    }
}
