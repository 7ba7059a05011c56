//! Shares statements between commits. Commits that arrive while others are in flight share the next statement if they
//! have no key in common: most of a commit's cost in the database is paid once for each statement. A commit that finds
//! an idle connection is sent at once.
//!
//! A group of commits has one version and is applied as a whole or not at all. If it is not applied:
//!
//! - The first commit whose expectation does not hold gets its conflict, and the rest of the group is sent again.
//! - While the database cannot be reached, the group waits together.
//! - If the failing commit is not known, or the answer was lost, each commit is sent alone under the same version. If
//!   the group was applied after all, its version is found then.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use tokio::sync::{Mutex, mpsc, oneshot};
use tokio::time::Instant;

use super::commit::{ApplyOutcome, CommitParams, CommitRequest, Committer};
use super::retry::Retry;
use super::statement_error::StatementError;
use super::workers::Workers;
use super::{Inner, new_version};
use crate::store::{CommitError, StoreError, Version};

/// Most commits that wait for a statement. Further callers wait until there is room.
const QUEUE_CAPACITY: usize = 4_096;
/// Most commits that share a statement.
const GROUP_COMMITS_MAX: usize = 64;
/// Most bytes that a shared statement writes. A larger commit is sent alone: it would delay the others, and sharing
/// saves little of its cost.
const GROUP_BYTES_MAX: usize = 256 << 10;

/// A commit whose caller waits for the outcome.
pub(super) struct PendingCommit {
    request: CommitRequest,
    since: Instant,
    reply: oneshot::Sender<Result<Version, CommitError>>,
}

impl PendingCommit {
    fn reply(self, outcome: Result<Version, CommitError>) {
        // Fails if the caller has dropped its future; the commit stands.
        let _ = self.reply.send(outcome);
    }
}

/// Starts `count` tasks that send commits. They end when the returned sender and its clones are dropped.
pub(super) fn start(
    committer: &Arc<Committer>,
    count: usize,
    workers: &mut Workers,
) -> mpsc::Sender<PendingCommit> {
    let (sender, queue) = mpsc::channel(QUEUE_CAPACITY);
    let queue = Arc::new(Mutex::new(queue));
    for _ in 0..count {
        workers.spawn(run_worker(Arc::clone(committer), Arc::clone(&queue)));
    }
    sender
}

async fn run_worker(committer: Arc<Committer>, queue: Arc<Mutex<mpsc::Receiver<PendingCommit>>>) {
    loop {
        let mut pending = Vec::new();
        if queue.lock().await.recv_many(&mut pending, GROUP_COMMITS_MAX).await == 0 {
            return;
        }
        let groups = divide(pending).into_iter();
        join_all(groups.map(|group| commit_group(&committer, group))).await;
    }
}

/// Divides commits into groups without a common key, of at most [`GROUP_BYTES_MAX`] bytes or a single commit.
fn divide(mut commits: Vec<PendingCommit>) -> Vec<Vec<PendingCommit>> {
    let mut groups = Vec::new();
    while !commits.is_empty() {
        let mut group = Vec::new();
        let mut rest = Vec::new();
        let mut keys_in_group = HashSet::new();
        let mut bytes = 0;
        for commit in commits {
            let commit_bytes = commit.request.bytes();
            let fits = group.is_empty() || bytes + commit_bytes <= GROUP_BYTES_MAX;
            if fits && commit.request.touched_keys().all(|key| !keys_in_group.contains(key)) {
                keys_in_group.extend(commit.request.touched_keys().map(<[u8]>::to_vec));
                bytes += commit_bytes;
                group.push(commit);
            } else {
                rest.push(commit);
            }
        }
        groups.push(group);
        commits = rest;
    }
    groups
}

async fn commit_group(committer: &Arc<Committer>, mut group: Vec<PendingCommit>) {
    let retry_deadline = committer.connector.settings().retry_deadline;
    let version = new_version();
    let mut retry = Retry::within(retry_deadline);
    let mut has_conflicted = false;
    loop {
        // Nothing was sent yet: a commit whose caller has dropped its future need not be made.
        group.retain(|commit| !commit.reply.is_closed());
        if group.is_empty() {
            return;
        }
        let requests: Vec<_> = group.iter().map(|commit| &commit.request).collect();
        match committer.try_commit(&CommitParams::of(&requests, version)).await {
            Ok(ApplyOutcome::Applied) => {
                for commit in group {
                    commit.reply(Ok(version));
                }
                return;
            }
            // Only once: if many commits conflict, sending each alone is faster than finding one after the other.
            Ok(ApplyOutcome::Conflict(index)) if !has_conflicted => {
                has_conflicted = true;
                let Some((member, key)) = find_expectation(&group, index) else {
                    return commit_each_alone(committer, group, version, false);
                };
                group.swap_remove(member).reply(Err(CommitError::Conflict { key }));
            }
            Ok(ApplyOutcome::Conflict(_) | ApplyOutcome::KeyNotLocked) => {
                return commit_each_alone(committer, group, version, false);
            }
            Err(StatementError::Unreachable(cause)) => {
                let is_over = !retry.pause().await;
                give_up_late_commits(&mut group, is_over, retry_deadline, &cause);
            }
            Err(error) => {
                let is_unknown =
                    matches!(error, StatementError::ConnectionLost(_) | StatementError::TimedOut(_));
                return commit_each_alone(committer, group, version, is_unknown);
            }
        }
    }
}

/// Refuses the commits that have waited for the retry deadline, or all commits if `is_over`. None of them was sent.
fn give_up_late_commits(
    group: &mut Vec<PendingCommit>,
    is_over: bool,
    retry_deadline: Duration,
    cause: &str,
) {
    let is_late = |commit: &mut PendingCommit| is_over || commit.since.elapsed() >= retry_deadline;
    for commit in group.extract_if(.., is_late) {
        commit.reply(Err(StoreError::Unavailable(cause.into()).into()));
    }
}

/// Sends each commit of a group by itself, under the version of the group. `is_unknown` says that the group may have
/// been applied.
fn commit_each_alone(
    committer: &Arc<Committer>,
    group: Vec<PendingCommit>,
    version: Version,
    is_unknown: bool,
) {
    for commit in group {
        let committer = Arc::clone(committer);
        // Not awaited by the worker: it may take until the retry deadline.
        tokio::spawn(async move {
            let done = committer.commit_alone(&commit.request, version, is_unknown, commit.since).await;
            commit.reply(done.map(|()| version));
        });
    }
}

/// Finds an expectation by its index among all expectations of the group; returns the index of its commit, and its key.
fn find_expectation(group: &[PendingCommit], index: usize) -> Option<(usize, Vec<u8>)> {
    let mut first = 0;
    for (member, commit) in group.iter().enumerate() {
        let expected = &commit.request.expected;
        if let Some((key, _)) = expected.get(index - first) {
            return Some((member, key.clone()));
        }
        first += expected.len();
    }
    None
}

impl Inner {
    /// Commits, in a statement that other commits may share.
    pub(super) async fn commit_in_group(&self, request: CommitRequest) -> Result<Version, CommitError> {
        if self.connector.is_closed() {
            return Err(StoreError::Closed.into());
        }
        let worker_died = || StoreError::Failed("the commit task has stopped: restart the server".into());
        let (reply, outcome) = oneshot::channel();
        let commit = PendingCommit { request, since: Instant::now(), reply };
        self.commits.send(commit).await.map_err(|_| worker_died())?;
        outcome.await.unwrap_or_else(|_| Err(worker_died().into()))
    }
}
