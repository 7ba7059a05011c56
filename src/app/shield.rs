//! A cancellation shield: work that runs to its end although its caller goes away.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// Runs `work` to its end. While the caller waits, the work runs as a part of the caller; if the caller's future is dropped,
/// the rest becomes a task of its own.
pub fn shield<F: Future<Output: Send> + Send + 'static>(work: F) -> Shielded<F> {
    Shielded(Some(Box::pin(work)))
}

/// The future of [`shield`].
pub struct Shielded<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> Future for Shielded<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // Taken out while it runs: work that panics must not be spawned afterwards.
        let mut work = self.0.take().expect("a finished future is not polled again");
        let polled = work.as_mut().poll(context);
        if polled.is_pending() {
            self.0 = Some(work);
        }
        polled
    }
}

impl<F: Future<Output: Send> + Send + 'static> Drop for Shielded<F> {
    fn drop(&mut self) {
        if let (Some(rest), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(rest);
        }
    }
}
