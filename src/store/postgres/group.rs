//! Commits that come while others are under way share the next statement, where they share no key: most of what a commit
//! costs the database, it costs once for each statement. Who comes to an idle connection is not kept waiting for others.
//!
//! A group has one version, and is made as a whole or not at all. Where it is not, whoever's expectation does not hold is
//! told so, and the others go on without them. While the database is away, the group waits together. Where it is not known
//! who is to blame, or the answer is lost, each goes on alone, under the same version: if the group was made after all, that is
//! found there.

use std::collections::HashSet;
use std::sync::Arc;

use futures_util::future::join_all;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;

use super::commit::{Changes, Verdict, Work, Writer};
use super::retry::{Fault, Retry};
use super::{Inner, new_version};
use crate::store::{CommitError, StoreError, Version};

/// Commits that may wait to be made.
const QUEUE_CAPACITY: usize = 4_096;
/// Most commits that share a statement.
const SHARED_MAX: usize = 64;
/// Most that a shared statement writes, in bytes: what is large would keep the others waiting, and gains nothing.
const SHARED_BYTES_MAX: usize = 256 << 10;

/// A commit that somebody waits for.
pub(super) struct Job {
    changes: Changes,
    since: Instant,
    answer: oneshot::Sender<Result<Version, CommitError>>,
}

impl Job {
    fn answer(self, made: Result<Version, CommitError>) {
        // Whoever went away needs no answer.
        let _ = self.answer.send(made);
    }
}

/// Starts as many tasks that make commits as there are connections for it. They end when nobody can ask any more.
pub(super) fn start(writer: &Arc<Writer>, tasks: usize) -> mpsc::Sender<Job> {
    let (asking, jobs) = mpsc::channel(QUEUE_CAPACITY);
    let jobs = Arc::new(Mutex::new(jobs));
    for _ in 0..tasks {
        tokio::spawn(make_forever(Arc::clone(writer), Arc::clone(&jobs)));
    }
    asking
}

async fn make_forever(writer: Arc<Writer>, jobs: Arc<Mutex<mpsc::Receiver<Job>>>) {
    loop {
        let mut taken = Vec::new();
        if jobs.lock().await.recv_many(&mut taken, SHARED_MAX).await == 0 {
            return;
        }
        join_all(divide(taken).into_iter().map(|group| make_group(&writer, group))).await;
    }
}

/// Divides commits into groups that share no key within, and are not too large.
fn divide(mut jobs: Vec<Job>) -> Vec<Vec<Job>> {
    let mut groups = Vec::new();
    while !jobs.is_empty() {
        let (mut group, mut later) = (Vec::new(), Vec::new());
        let (mut touched, mut bytes) = (HashSet::new(), 0);
        for job in jobs {
            let job_bytes = job.changes.bytes();
            let fits = group.is_empty() || bytes + job_bytes <= SHARED_BYTES_MAX;
            if fits && job.changes.touched().all(|key| !touched.contains(key)) {
                touched.extend(job.changes.touched().map(<[u8]>::to_vec));
                bytes += job_bytes;
                group.push(job);
            } else {
                later.push(job);
            }
        }
        groups.push(group);
        jobs = later;
    }
    groups
}

async fn make_group(writer: &Arc<Writer>, mut group: Vec<Job>) {
    let patience = writer.connector.settings().patience;
    let (version, mut retry) = (new_version(), Retry::within(patience));
    let (mut lost, mut conflicts) = (false, 0);
    loop {
        // Whoever went away before anything was sent need not be served.
        group.retain(|job| !job.answer.is_closed());
        if group.is_empty() {
            return;
        }
        let all: Vec<_> = group.iter().map(|job| &job.changes).collect();
        match writer.try_to_make(&Work::of(&all, version)).await {
            Ok(Verdict::Made) => {
                for job in group {
                    job.answer(Ok(version));
                }
                return;
            }
            // Once: where many fail, it takes longer to find one after the other than to try each.
            Ok(Verdict::Conflict(place))
                if conflicts == 0
                    && let Some((member, key)) = expecting(&group, place) =>
            {
                conflicts += 1;
                group.swap_remove(member).answer(Err(CommitError::Conflict { key }));
            }
            Ok(Verdict::Conflict(_) | Verdict::Unlocked) => break,
            // Nothing was sent.
            Err(Fault::Unreachable(cause)) => {
                let is_over = !retry.pause().await;
                let late = |job: &mut Job| is_over || job.since.elapsed() >= patience;
                for job in group.extract_if(.., late) {
                    job.answer(Err(StoreError::Unavailable(cause.clone()).into()));
                }
            }
            Err(fault) => {
                lost = matches!(fault, Fault::Lost(_) | Fault::Unanswered(_));
                break;
            }
        }
    }
    for job in group {
        let writer = Arc::clone(writer);
        // Not waited for: it may take as long as the database is away.
        tokio::spawn(async move {
            let made = writer.make(&job.changes, version, lost, job.since).await;
            job.answer(made.map(|()| version));
        });
    }
}

/// Who expects what stands at this place of all that the group expects, and the key that it is about.
fn expecting(group: &[Job], place: usize) -> Option<(usize, Vec<u8>)> {
    let expected = group
        .iter()
        .enumerate()
        .flat_map(|(member, job)| job.changes.expected.iter().map(move |(key, _)| (member, key)));
    expected.skip(place).map(|(member, key)| (member, key.clone())).next()
}

impl Inner {
    /// Commits, in one statement with whoever else waits.
    pub(super) async fn commit_together(&self, changes: Changes) -> Result<Version, CommitError> {
        if self.connector.is_closed() {
            return Err(StoreError::Closed.into());
        }
        let (answer, answered) = oneshot::channel();
        let gone = || StoreError::Failed("the writer has died: restart the server".into());
        let job = Job { changes, since: Instant::now(), answer };
        self.commits.send(job).await.map_err(|_| gone())?;
        answered.await.unwrap_or_else(|_| Err(gone().into()))
    }
}
