//! The launches whose allocator is being called.

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use uuid::Uuid;

use super::lock;

/// The launches whose allocator is being called. Nobody else looks at them meanwhile.
#[derive(Clone, Default)]
pub(super) struct InFlight(Arc<Mutex<HashSet<Uuid>>>);

/// A call for a launch. The launch is in flight until this is dropped, so also if the call panics or its outcome cannot
/// be stored.
pub(super) struct Calling {
    calls: InFlight,
    id: Uuid,
}

impl InFlight {
    /// The allocator of a launch is called from now on.
    pub fn enter(&self, id: Uuid) -> Calling {
        lock(&self.0).insert(id);
        Calling { calls: self.clone(), id }
    }

    /// Whether the allocator of a launch is being called.
    pub fn contains(&self, id: Uuid) -> bool {
        lock(&self.0).contains(&id)
    }
}

impl Drop for Calling {
    fn drop(&mut self) {
        lock(&self.calls.0).remove(&self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_is_broken_off_leaves_nothing_behind() {
        let (calls, id) = (InFlight::default(), Uuid::from_u128(7));
        let calling = calls.enter(id);
        assert!(calls.contains(id));
        let broken_off = move || {
            let _calling = calling;
            panic!("the outcome could not be stored");
        };
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(broken_off)).unwrap_err();
        assert!(!calls.contains(id));
    }
}
