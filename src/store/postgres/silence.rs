//! What is done while commits get no answer, as where the database waits for a standby that is away. Whoever gives up such a
//! commit leaves a process of the database waiting, which nothing ends before the standby is back. So one commit at a time
//! is sent then, and waited for longer than the one before; the others are refused until one was made.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::commit::Verdict;
use super::retry::Fault;

/// Longest time that one commit is waited for while the database is silent.
const PROBE_TIMEOUT_MAX: Duration = Duration::from_secs(60);
const CAUSE: &str = "commits get no answer: if the database waits for standbys, see that they are there";

/// Whether commits are answered.
pub(super) struct Silence {
    /// How long an answer is waited for as long as there are some.
    answer_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// How long the next commit is waited for, once one got no answer.
    probe_timeout: Option<Duration>,
    is_probing: bool,
}

/// A commit that is about to be sent.
pub(super) struct Sending<'a> {
    silence: &'a Silence,
    since: Instant,
    /// Longest time to wait for its answer.
    pub(super) answer_timeout: Duration,
    /// Whether it is the one that is sent during a silence. It needs a new connection: that of before may be to a
    /// machine that stands still, while another has taken its place.
    pub(super) is_probe: bool,
}

impl Silence {
    pub(super) fn new(answer_timeout: Duration) -> Self {
        Self { answer_timeout, state: Mutex::default() }
    }

    /// Lets a commit be sent.
    ///
    /// # Errors
    /// [`Fault::Unreachable`] during a silence, where another commit is waited for.
    pub(super) fn enter(&self) -> Result<Sending<'_>, Fault> {
        let mut state = self.state();
        let is_probe = state.probe_timeout.is_some();
        if is_probe && state.is_probing {
            return Err(Fault::Unreachable(CAUSE.into()));
        }
        state.is_probing = is_probe;
        let answer_timeout = state.probe_timeout.unwrap_or(self.answer_timeout);
        Ok(Sending { silence: self, since: Instant::now(), answer_timeout, is_probe })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sending<'_> {
    /// Notes what became of it. Of refusals nothing is learned: they wait for no standby.
    pub(super) fn ended(self, made: &Result<Verdict, Fault>) {
        let mut state = self.silence.state();
        match made {
            Ok(Verdict::Made) if state.probe_timeout.is_some() => {
                state.probe_timeout = None;
                tracing::info!("commits are answered again");
            }
            Err(Fault::Lost(_)) if self.since.elapsed() >= self.answer_timeout => {
                if state.probe_timeout.is_none() {
                    tracing::error!("{CAUSE}; one is tried at a time until then");
                }
                if self.is_probe || state.probe_timeout.is_none() {
                    let longest = PROBE_TIMEOUT_MAX.max(self.silence.answer_timeout);
                    state.probe_timeout = Some((self.answer_timeout * 2).min(longest));
                }
            }
            _ => {}
        }
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if self.is_probe {
            self.silence.state().is_probing = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn no_answer(sending: Sending<'_>) {
        tokio::time::advance(sending.answer_timeout).await;
        sending.ended(&Err(Fault::Lost("no answer".into())));
    }

    #[tokio::test(start_paused = true)]
    async fn during_a_silence_one_commit_is_waited_for_ever_longer() {
        let silence = Silence::new(SECOND);
        let (first, second) = (silence.enter().unwrap(), silence.enter().unwrap());
        assert!(!first.is_probe && !second.is_probe, "nothing is held back before");
        no_answer(first).await;
        no_answer(second).await;
        for seconds in [2, 4, 8, 16, 32, 60, 60] {
            let probe = silence.enter().unwrap();
            assert!(probe.is_probe && silence.enter().is_err(), "others are refused");
            assert_eq!(probe.answer_timeout, SECOND * seconds);
            no_answer(probe).await;
        }
        let abandoned = silence.enter().unwrap();
        drop(abandoned);
        let refused = silence.enter().unwrap();
        refused.ended(&Ok(Verdict::Conflict(0)));
        let broken = silence.enter().unwrap();
        broken.ended(&Err(Fault::Lost("the connection broke".into())));
        let made = silence.enter().unwrap();
        assert_eq!(
            (made.is_probe, made.answer_timeout),
            (true, SECOND * 60),
            "of none of them anything was learned"
        );
        made.ended(&Ok(Verdict::Made));
        assert!(!silence.enter().unwrap().is_probe && !silence.enter().unwrap().is_probe);
    }
}
