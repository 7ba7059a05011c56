//! What is done while commits get no answer, as where the database waits for a standby that is away. Whoever gives up such a
//! commit leaves a process of the database waiting, which nothing ends before the standby is back. So no more are sent then
//! but one that changes nothing and still has to be waited for, each for longer than the one before; once that is answered,
//! all go on.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::commit::{Changes, Verdict, Work, Writer};
use super::lane::Lane;
use super::new_version;
use super::retry::Fault;
use crate::env::Entropy;
use crate::store::Batch;

/// Longest time that an answer is waited for during a silence.
const ANSWER_TIMEOUT_MAX: Duration = Duration::from_secs(30);
/// Pause after one that was not made.
const PAUSE: Duration = Duration::from_millis(500);
const CAUSE: &str = "commits get no answer: if the database waits for standbys, see that they are there";

/// Whether commits get no answer.
#[derive(Default)]
pub(super) struct Silence(AtomicBool);

impl Silence {
    /// Lets a commit be sent.
    ///
    /// # Errors
    /// [`Fault::Unreachable`] while none is answered.
    pub(super) fn check(&self) -> Result<(), Fault> {
        if self.0.load(Ordering::Acquire) { Err(Fault::Unreachable(CAUSE.into())) } else { Ok(()) }
    }

    /// Notes that a commit got no answer. The first one to notice has somebody find out when the silence ends.
    pub(super) fn begin(&self, writer: &Arc<Writer>) {
        if !self.0.swap(true, Ordering::AcqRel) {
            tokio::spawn(listen(Arc::clone(writer)));
        }
    }

    fn end(&self) {
        self.0.store(false, Ordering::Release);
    }
}

/// Waits until a commit is answered, or the store is closed.
async fn listen(writer: Arc<Writer>) {
    let mut answer_timeout = writer.connector.settings().answer_timeout();
    let longest = ANSWER_TIMEOUT_MAX.max(answer_timeout);
    let mut is_told = false;
    loop {
        let (lane, nothing) = (Lane::new(&writer.connector), nothing());
        let work = Work::of(&[&nothing], new_version());
        let cause = match writer.make_in_transaction(&lane, &work, answer_timeout).await {
            Ok(Verdict::Made) => break,
            Ok(_) => "it was refused".into(),
            Err(Fault::Failed(_)) if writer.connector.is_closed() => return,
            Err(Fault::Failed(error)) => error.to_string(),
            Err(Fault::Unreachable(cause) | Fault::Lost(cause) | Fault::Rejected(cause)) => cause,
            Err(Fault::Unanswered(cause)) => {
                answer_timeout = (answer_timeout * 2).min(longest);
                cause
            }
        };
        // Once the first of them is made, it was a statement that took long, and nobody need know.
        if !is_told {
            tracing::error!(cause, "{CAUSE}; until then one is tried, and others are refused");
        }
        is_told = true;
        tokio::time::sleep(PAUSE).await;
    }
    writer.silence.end();
    if is_told {
        tracing::info!("commits are answered again");
    }
}

/// Changes nothing, but must be written: a key is locked that is absent and stays so.
fn nothing() -> Changes {
    Changes::of(Batch::default().expect_absent(Entropy::System.bytes::<16>()))
}
