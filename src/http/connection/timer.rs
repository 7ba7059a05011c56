//! The time that a connection's heads have to arrive.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use hyper::rt::{Sleep, Timer};

use super::state::Progress;

/// The timer of one connection. hyper asks for a new sleep with every request; here they share one entry in the
/// runtime's timer, which all connections have to lock, and that entry is moved only when it goes off.
pub struct ConnectionTimer(Arc<Silence>);

/// How long a connection may be silent, and the entry that goes off then at the earliest.
struct Silence {
    entry: Mutex<Pin<Box<tokio::time::Sleep>>>,
    head_timeout: Duration,
    progress: Arc<Progress>,
}

impl ConnectionTimer {
    /// The timer of a connection whose heads have so long to arrive. Requests that hyper does not see have their part in
    /// it: for each time that it goes off after some of them, the connection has all of that time again.
    pub fn new(head_timeout: Duration, progress: Arc<Progress>) -> Self {
        let entry = Mutex::new(Box::pin(tokio::time::sleep(head_timeout)));
        Self(Arc::new(Silence { entry, head_timeout, progress }))
    }
}

impl Timer for ConnectionTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn Sleep>> {
        self.sleep_until(self.now() + duration)
    }

    fn now(&self) -> Instant {
        // The runtime's clock, which tests hold still, and not the machine's.
        tokio::time::Instant::now().into_std()
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn Sleep>> {
        Box::pin(ConnectionSleep { deadline, silence: Arc::clone(&self.0) })
    }
}

/// Sleeps until a deadline no earlier than those before it.
struct ConnectionSleep {
    deadline: Instant,
    silence: Arc<Silence>,
}

impl Sleep for ConnectionSleep {}

impl Future for ConnectionSleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        let Self { deadline, silence } = &mut *self;
        let mut entry = silence.entry.lock().unwrap_or_else(PoisonError::into_inner);
        while entry.as_mut().poll(context).is_ready() {
            let went_off = entry.deadline().into_std();
            if went_off >= *deadline {
                if !silence.progress.was_served_here() {
                    return Poll::Ready(());
                }
                *deadline = went_off + silence.head_timeout;
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
    async fn the_time_begins_anew_after_what_was_served_here() {
        let head_timeout = Duration::from_secs(75);
        let progress = Arc::<Progress>::default();
        let timer = ConnectionTimer::new(head_timeout, Arc::clone(&progress));
        for (served, expected) in [(false, 75), (true, 150), (false, 75)] {
            if served {
                progress.note_served_here();
            }
            let started = tokio::time::Instant::now();
            timer.sleep(head_timeout).await;
            assert_eq!(started.elapsed().as_secs(), expected);
        }
    }
}
