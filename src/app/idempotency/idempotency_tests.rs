//! The service alone, over a store in memory.

use futures_util::FutureExt as _;
use uuid::Uuid;

use super::*;
use crate::app::sessions::fixtures;
use crate::store::{Backend as _, Memory};

const KEEP_MS: i64 = 60_000;

fn service(store: &Memory, clock: &Clock) -> Idempotency {
    let settings = IdempotencySettings { keep_ms: KEEP_MS, body_bytes_max: 8, keys_per_caller_max: 3 };
    let time_and_randomness = (clock.clone(), Entropy::seeded(1));
    Idempotency::new(settings, fixtures::node(store, clock), (time_and_randomness, Arc::default()))
}

fn fixture() -> (Memory, Clock, Idempotency) {
    let (store, clock) = (Memory::shared(), fixtures::clock());
    let service = service(&store, &clock);
    (store, clock, service)
}

fn key(number: u8) -> RequestKey {
    RequestKey { request: [number; 20], fingerprint: 1, caller: [0; 16] }
}

const ANSWERED: Answered<'static> = Answered { status: 200, etag: Some("\"1\""), body: b"{}" };

async fn first(service: &Idempotency, key: &RequestKey) -> FirstRun {
    match service.begin(key).await {
        Ok(Begun::First(run)) => run,
        Ok(Begun::Repeated(answer)) => panic!("it was answered before: {answer:?}"),
        Err(error) => panic!("{error}"),
    }
}

async fn repeated(service: &Idempotency, key: &RequestKey) -> StoredAnswer {
    match service.begin(key).await {
        Ok(Begun::Repeated(answer)) => answer,
        _ => panic!("it was not answered before"),
    }
}

/// Runs a request and stores its answer.
async fn run(service: &Idempotency, key: &RequestKey) {
    let run = first(service, key).await;
    assert_eq!(service.answered(&run, ANSWERED, || None).await.unwrap(), None);
}

/// A whole pass of the sweep over few answers, if one is due: a round for each of its ranges.
async fn pass(service: &Idempotency) {
    for _range in 0..2 {
        service.sweep().await.unwrap();
    }
}

#[tokio::test]
async fn a_repeat_gets_the_answer_until_its_time_is_over() {
    let (store, clock, one) = fixture();
    run(&one, &key(1)).await;
    let answer = repeated(&service(&store, &clock), &key(1)).await;
    let found = (answer.status, answer.etag.as_deref(), answer.body.as_deref());
    assert_eq!(found, (200, Some("\"1\""), Some("{}")));
    let other = RequestKey { fingerprint: 2, ..key(1) };
    assert!(matches!(one.begin(&other).await, Err(KeyRefused::Reused)));
    clock.advance(Duration::from_millis(59_999));
    repeated(&one, &key(1)).await;
    clock.advance(Duration::from_millis(1));
    // The old answer is still stored. The new one replaces it.
    run(&one, &other).await;
    repeated(&one, &other).await;
}

#[tokio::test]
async fn a_clock_that_was_set_makes_no_answer_older() {
    for step_ms in [10 * KEEP_MS, -10 * KEEP_MS] {
        let (store, clock, one) = fixture();
        run(&one, &key(1)).await;
        clock.step(step_ms);
        pass(&one).await;
        repeated(&one, &key(1)).await;
        clock.advance(Duration::from_millis(59_999));
        pass(&one).await;
        repeated(&one, &key(1)).await;
        // By then it is over, or another node has known for that long that it is of the future.
        clock.advance(Duration::from_millis(60_000));
        pass(&one).await;
        assert_eq!(store.get(&keys::answer(&key(1).request)).await.unwrap(), None, "{step_ms}");
        run(&one, &key(1)).await;
    }
}

#[tokio::test]
async fn a_request_whose_answer_cannot_be_read_does_not_run_again_until_its_time_is_over() {
    let (store, clock, one) = fixture();
    let of_a_newer_version = [&[2], b"anything".as_slice()].concat();
    for damaged in [Vec::new(), b"damaged".to_vec(), of_a_newer_version] {
        let stored = keys::answer(&key(2).request);
        store.commit(Batch::default().put(stored.clone(), damaged)).await.unwrap();
        let is_refused = async || matches!(one.begin(&key(2)).await, Err(KeyRefused::Unreadable));
        assert!(is_refused().await);
        clock.advance(Duration::from_millis(KEEP_MS as u64 / 8));
        pass(&one).await;
        clock.step(10 * KEEP_MS);
        clock.advance(Duration::from_millis(59_999));
        pass(&one).await;
        assert!(is_refused().await);
        clock.advance(Duration::from_millis(KEEP_MS as u64 / 8));
        pass(&one).await;
        assert_eq!(store.get(&stored).await.unwrap(), None);
        run(&one, &key(2)).await;
        repeated(&one, &key(2)).await;
    }
    assert!(one.metrics.render().contains("outcome=\"unreadable\"} 6\n"));
}

#[tokio::test]
async fn an_answer_of_another_node_comes_first() {
    let (store, clock, one) = fixture();
    let other = service(&store, &clock);
    let (run_here, run_there) = (first(&one, &key(1)).await, first(&other, &key(1)).await);
    assert_eq!(other.answered(&run_there, ANSWERED, || None).await.unwrap(), None);
    // The writes of this one are refused, whether they are in the commit of an effect or in one of their own.
    let writes = run_here.recorder.writes(Answered { status: 204, ..ANSWERED }, || None);
    assert!(matches!(store.commit(writes).await, Err(CommitError::Conflict { .. })));
    assert_eq!(one.refused(&run_here).await.unwrap().unwrap().status, 200);
    drop((run_here, run_there));

    let (run_here, run_there) = (first(&one, &key(2)).await, first(&other, &key(2)).await);
    assert_eq!(one.refused(&run_here).await.unwrap(), None);
    assert_eq!(other.answered(&run_there, ANSWERED, || None).await.unwrap(), None);
    let late = one.answered(&run_here, Answered { status: 204, ..ANSWERED }, || None).await;
    assert_eq!(late.unwrap().unwrap().status, 200);
}

#[tokio::test]
async fn an_answer_whose_time_is_over_is_replaced_once() {
    let (store, clock, one) = fixture();
    run(&one, &key(1)).await;
    clock.advance(Duration::from_millis(60_000));
    let other = service(&store, &clock);
    let (run_here, run_there) = (first(&one, &key(1)).await, first(&other, &key(1)).await);
    assert_eq!(one.answered(&run_here, ANSWERED, || None).await.unwrap(), None);
    assert!(other.answered(&run_there, ANSWERED, || None).await.unwrap().is_some());
}

#[tokio::test(start_paused = true)]
async fn equal_requests_wait_for_the_first_and_no_longer_than_five_seconds() {
    let (_, _, service) = fixture();
    let run = first(&service, &key(1)).await;
    first(&service, &key(2)).await;
    let mut waiting = [(); 3].map(|()| Box::pin(service.begin(&WAITED)));
    for waiting in &mut waiting {
        assert!(waiting.as_mut().now_or_never().is_none());
    }
    service.answered(&run, ANSWERED, || None).await.unwrap();
    drop(run);
    for waiting in waiting {
        assert!(matches!(waiting.await, Ok(Begun::Repeated(_))));
    }
    let _run = first(&service, &key(3)).await;
    assert!(matches!(service.begin(&key(3)).await, Err(KeyRefused::InUse)));
}

/// The key that the test above waits for.
static WAITED: RequestKey = RequestKey { request: [1; 20], fingerprint: 1, caller: [0; 16] };

#[tokio::test]
async fn after_a_refusal_the_next_equal_request_is_the_first() {
    let (_, _, service) = fixture();
    let run = first(&service, &key(1)).await;
    let mut waiting = Box::pin(service.begin(&WAITED));
    assert!(waiting.as_mut().now_or_never().is_none());
    assert_eq!(service.refused(&run).await.unwrap(), None);
    drop(run);
    assert!(matches!(waiting.await, Ok(Begun::First(_))));
}

#[tokio::test]
async fn the_keys_of_a_caller_are_limited_but_for_refusals_and_repeats() {
    let (_, clock, service) = fixture();
    for number in [1, 2] {
        run(&service, &key(number)).await;
        repeated(&service, &key(number)).await;
        let refused = first(&service, &key(9)).await;
        service.refused(&refused).await.unwrap();
    }
    // Its caller disconnects, so nobody knows whether it was answered.
    drop(first(&service, &key(3)).await);
    assert!(matches!(service.begin(&key(4)).await, Err(KeyRefused::TooMany { retry_after_s: 3_600 })));
    repeated(&service, &key(1)).await;
    run(&service, &RequestKey { caller: [1; 16], ..key(4) }).await;
    clock.advance(WINDOW);
    run(&service, &key(5)).await;
}

#[tokio::test]
async fn a_large_body_is_not_stored() {
    let (_, _, service) = fixture();
    let run = first(&service, &key(1)).await;
    let large = Answered { body: b"[1,2,3,4]", ..ANSWERED };
    service.answered(&run, large, || Some("/session".to_owned())).await.unwrap();
    drop(run);
    let answer = repeated(&service, &key(1)).await;
    assert_eq!((answer.body, answer.read_at.as_deref()), (None, Some("/session")));
}

#[tokio::test]
async fn each_pass_deletes_what_is_over_and_nothing_else() {
    let (store, clock, one) = fixture();
    let other = service(&store, &clock);
    let kept = StoredAnswer {
        fingerprint: 1,
        stored_ms: clock.now_ms() + KEEP_MS,
        status: 204,
        etag: None,
        body: Some(String::new()),
        read_at: None,
    };
    let over = StoredAnswer { stored_ms: clock.now_ms() - KEEP_MS, ..kept.clone() };
    let entropy = Entropy::seeded(2);
    let put =
        |batch: Batch, answer: &StoredAnswer| batch.put(keys::answer(&entropy.bytes()), answer.encode());
    let answers = [&kept, &over].into_iter().cycle().take(10_000);
    store.commit(answers.fold(Batch::default(), put)).await.unwrap();
    let session = keys::session(&Uuid::nil().into());
    store.commit(Batch::default().put(session.clone(), "not an answer")).await.unwrap();
    while tokio::try_join!(one.sweep(), other.sweep()).unwrap() != (false, false) {}
    let (start, end) = keys::all_answers();
    let left = store.scan(&start, &end, usize::MAX).await.unwrap();
    assert_eq!(left.len(), 5_000);
    assert!(left.iter().all(|(_, entry)| StoredAnswer::decode(&entry.value).unwrap() == kept));
    assert!(store.get(&session).await.unwrap().is_some());
}
