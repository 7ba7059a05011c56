//! The idle timer: closes a connection if the head of a request takes too long to arrive, or if a kept connection has
//! no next request.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

use super::state::ConnectionState;

/// hyper's timer for one connection. hyper asks for a new sleep with every request. All of these share one entry in the
/// runtime's timer, which has a lock for all connections. The entry is moved only when it fires.
pub struct ConnectionTimer(Arc<IdleTimer>);

struct IdleTimer {
    entry: Mutex<Pin<Box<tokio::time::Sleep>>>,
    head_timeout: Duration,
    state: Arc<ConnectionState>,
}

impl ConnectionTimer {
    /// A timer that fires `head_timeout` after the connection became idle. hyper does not see requests that are
    /// answered under it. If there were any when the timer fires, it starts again with all of `head_timeout`; so the
    /// connection can be idle for up to twice as long.
    pub fn new(head_timeout: Duration, state: Arc<ConnectionState>) -> Self {
        let entry = Mutex::new(Box::pin(tokio::time::sleep(head_timeout)));
        Self(Arc::new(IdleTimer { entry, head_timeout, state }))
    }
}

impl Timer for ConnectionTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn now(&self) -> Instant {
        // The runtime's clock, which tests pause, and not the machine's.
        tokio::time::Instant::now().into_std()
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(ConnectionSleep { deadline, timer: Arc::clone(&self.0) })
    }
}

/// Sleeps until a deadline. Deadlines of one connection never move backwards.
struct ConnectionSleep {
    deadline: Instant,
    timer: Arc<IdleTimer>,
}

impl Sleep for ConnectionSleep {}

impl Future for ConnectionSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { deadline, timer } = &mut *self;
        let mut entry = timer.entry.lock().unwrap_or_else(PoisonError::into_inner);
        while entry.as_mut().poll(context).is_ready() {
            let fired_at = entry.deadline().into_std();
            if fired_at >= *deadline {
                if !timer.state.take_activity_under_hyper() {
                    return Poll::Ready(());
                }
                *deadline = fired_at + timer.head_timeout;
            }
            entry.as_mut().reset((*deadline).into());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_timer_starts_again_after_activity_under_hyper() {
        let head_timeout = Duration::from_secs(75);
        let state = Arc::<ConnectionState>::default();
        let timer = ConnectionTimer::new(head_timeout, Arc::clone(&state));
        for (is_active, expected_s) in [(false, 75), (true, 150), (false, 75)] {
            if is_active {
                state.note_activity_under_hyper();
            }
            let started = tokio::time::Instant::now();
            timer.sleep(head_timeout).await;
            assert_eq!(started.elapsed().as_secs(), expected_s);
        }
    }
}
