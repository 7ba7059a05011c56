//! Runs callers and measures them.

use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::process::cpu_time_s;

/// One sample of the measurement.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sample {
    pub answers: usize,
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// CPU time of the server processes for each answer, user and system, in microseconds.
    pub cpu_us: f64,
}

/// A caller: sends requests one after the other.
pub trait Caller: Send + 'static {
    /// Sends a request, and waits for the response.
    fn call(&mut self) -> impl Future<Output = ()> + Send;

    /// Number of calls after which the caller starts over.
    fn calls_per_cycle(&self) -> usize;

    /// Whether the next call undoes the last one.
    fn is_between(&self) -> bool;
}

/// When callers send the next request.
#[derive(Clone, Copy)]
pub enum Pace {
    /// Each as soon as it has its response.
    Freely,
    /// All at the same moment, once all have their response.
    AtOnce,
    /// Each at this interval, or as soon as it has its response if that takes longer.
    Every(Duration),
}

/// Sends each request of each caller once.
pub async fn warm<C: Caller>(callers: &mut [C]) {
    for _ in 0..callers[0].calls_per_cycle() {
        once(callers).await;
    }
}

/// Runs all callers for `time`. `pids` are the server processes.
pub async fn measure<C: Caller>(callers: &mut Vec<C>, pace: Pace, pids: &[u32], time: Duration) -> Sample {
    let all_cpu_time_s = || pids.iter().map(|pid| cpu_time_s(*pid)).sum::<f64>();
    let (start, cpu_before_s) = (Instant::now(), all_cpu_time_s());
    let mut took = match pace {
        Pace::Freely => each(callers, Duration::ZERO, time).await,
        Pace::Every(pause) => each(callers, pause, time).await,
        Pace::AtOnce => by_turns(callers, time).await,
    };
    let (elapsed, cpu_s) = (start.elapsed(), all_cpu_time_s() - cpu_before_s);
    took.sort_unstable();
    let us = |part: f64| took[(took.len() as f64 * part) as usize].as_secs_f64() * 1e6;
    Sample {
        answers: took.len(),
        per_second: took.len() as f64 / elapsed.as_secs_f64(),
        p50_us: us(0.5),
        p99_us: us(0.99),
        cpu_us: cpu_s * 1e6 / took.len() as f64,
    }
}

/// Runs each caller on its own. Returns the latencies, which count from when a request was due.
async fn each<C: Caller>(callers: &mut Vec<C>, every: Duration, time: Duration) -> Vec<Duration> {
    let (start, count) = (Instant::now(), callers.len() as u32);
    let mut tasks = JoinSet::new();
    for (mut caller, number) in callers.drain(..).zip(0..) {
        // With an interval, callers start one after the other.
        let first = start + every * number / count;
        tasks.spawn(async move {
            let (mut took, mut due) = (Vec::new(), first);
            // Finish what was begun, so that later callers find everything unchanged.
            while due.duration_since(start) < time || caller.is_between() {
                if !every.is_zero() {
                    tokio::time::sleep_until(due.into()).await;
                }
                caller.call().await;
                let answered = Instant::now();
                took.push(answered.duration_since(due));
                due = if every.is_zero() { answered } else { due + every };
            }
            (caller, took)
        });
    }
    let mut took = Vec::new();
    for (caller, its) in tasks.join_all().await {
        callers.push(caller);
        took.extend(its);
    }
    took
}

/// Runs all callers in step: all send at the same moment, and again once all have their response.
async fn by_turns<C: Caller>(callers: &mut [C], time: Duration) -> Vec<Duration> {
    let start = Instant::now();
    let mut took = Vec::new();
    while start.elapsed() < time {
        for _ in ["change", "undo"] {
            took.extend(once(callers).await);
        }
    }
    took
}

/// Lets all callers send once, at the same moment.
pub async fn once<C: Caller>(callers: &mut [C]) -> Vec<Duration> {
    let start = Instant::now();
    let call = async |caller: &mut C| {
        caller.call().await;
        start.elapsed()
    };
    join_all(callers.iter_mut().map(call)).await
}
