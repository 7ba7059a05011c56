//! What is done while commits get no answer, as where the database waits for a standby that is away. Whoever gives up such a
//! commit leaves a process of the database waiting, which nothing ends before the standby is back. So no more are sent then
//! but one that changes nothing and still has to be waited for, each for longer than the one before; once that is answered,
//! all go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::commit::{Changes, Verdict, Work, Writer};
use super::lane::Lane;
use super::new_version;
use super::retry::Fault;
use crate::env::Entropy;

/// Longest time that an answer is waited for during a silence.
const ANSWER_TIMEOUT_MAX: Duration = Duration::from_secs(60);
/// Pause after a try that failed for any other reason.
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
            tracing::error!("{CAUSE}; until then one is tried, and others are refused");
            tokio::spawn(listen(Arc::clone(writer)));
        }
    }

    fn end(&self) {
        self.0.store(false, Ordering::Release);
        tracing::info!("commits are answered again");
    }
}

/// Waits until a commit is answered, or the store is closed.
async fn listen(writer: Arc<Writer>) {
    let mut answer_timeout = writer.connector.settings().answer_timeout();
    let longest = ANSWER_TIMEOUT_MAX.max(answer_timeout);
    loop {
        // On a new connection: the one of before may be to a machine that stands still, while another has taken its place.
        let lane = Lane::new(&writer.connector);
        match writer.make_in_transaction(&lane, &Work::of(&[&nothing()], new_version()), answer_timeout).await
        {
            Ok(Verdict::Made) => break,
            Err(Fault::Failed(_)) if writer.connector.is_closed() => return,
            Err(Fault::Unanswered(_)) => answer_timeout = (answer_timeout * 2).min(longest),
            _ => tokio::time::sleep(PAUSE).await,
        }
    }
    writer.close().await;
    writer.silence.end();
}

/// Changes nothing, but must be written: a key is locked that is absent and stays so.
fn nothing() -> Changes {
    let key = Entropy::System.bytes::<16>().to_vec();
    Changes { expected: vec![(key, None)], changed: BTreeMap::new() }
}
