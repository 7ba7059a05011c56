//! A cancellation shield: a future that runs to its end even if its caller is cancelled, for example because the client
//! disconnected.

use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::runtime::Handle;

/// Runs `work` to its end. While the caller waits, the work runs inside the caller's task, which saves the cost of a
/// new task. If the caller drops the future, the rest of the work becomes a detached task.
pub fn shield<F: Future<Output: Send> + Send + 'static>(work: F) -> Shielded<F> {
    Shielded(Some(Box::pin(work)))
}

/// The future that [`shield`] returns. `None` after its end, and while it runs.
pub struct Shielded<F: Future<Output: Send> + Send + 'static>(Option<Pin<Box<F>>>);

impl<F: Future<Output: Send> + Send + 'static> Future for Shielded<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        // Taken out while it runs, so that `drop` does not spawn work that has panicked.
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
