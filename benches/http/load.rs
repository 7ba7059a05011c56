//! Those who ask, and what is measured of them.

use std::future::Future;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::process::cpu_time_s;

/// What a cell of the measurement came to.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Sample {
    pub answers: usize,
    pub per_second: f64,
    pub p50_us: f64,
    pub p99_us: f64,
    /// Processor time of the processes that answer, of all their threads, in and out of the kernel.
    pub cpu_us: f64,
}

/// One who asks, again and again.
pub trait Caller: Send + 'static {
    /// Asks once, and waits for the answer.
    fn call(&mut self) -> impl Future<Output = ()> + Send;

    /// After how many calls it begins again from the start.
    fn turns(&self) -> usize;

    /// Whether it is in the middle: the next call takes back what the last one did.
    fn is_between(&self) -> bool;
}

/// When callers ask again.
#[derive(Clone, Copy)]
pub enum Pace {
    /// Each as soon as it is answered.
    Freely,
    /// All at the same moment, once all are answered.
    AtOnce,
    /// Each so often, or as soon as it is answered where that takes longer.
    Every(Duration),
}

/// Lets each caller ask all of its own once.
pub async fn warm<C: Caller>(callers: &mut [C]) {
    for _ in 0..callers[0].turns() {
        once(callers).await;
    }
}

/// Lets all callers ask for a while; `pids` are the processes that answer.
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

/// Each asks again after a time, or as soon as it is answered. Answers how long it took each time, from when it was to ask.
async fn each<C: Caller>(callers: &mut Vec<C>, every: Duration, time: Duration) -> Vec<Duration> {
    let (start, count) = (Instant::now(), callers.len() as u32);
    let mut tasks = JoinSet::new();
    for (mut caller, number) in callers.drain(..).zip(0..) {
        // Those who pause begin one after the other.
        let first = start + every * number / count;
        tasks.spawn(async move {
            let (mut took, mut due) = (Vec::new(), first);
            // Others come after them, who are to find everything as it was.
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

/// All ask at the same moment, and again at the same moment once all are answered: there, and back.
async fn by_turns<C: Caller>(callers: &mut [C], time: Duration) -> Vec<Duration> {
    let start = Instant::now();
    let mut took = Vec::new();
    while start.elapsed() < time {
        for _ in ["there", "back"] {
            took.extend(once(callers).await);
        }
    }
    took
}

/// All ask once, at the same moment.
pub async fn once<C: Caller>(callers: &mut [C]) -> Vec<Duration> {
    let start = Instant::now();
    let call = async |caller: &mut C| {
        caller.call().await;
        start.elapsed()
    };
    join_all(callers.iter_mut().map(call)).await
}
