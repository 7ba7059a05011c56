//! What `/metrics` says about launches.

use std::time::Duration;

use rallypoint::jobs;
use uuid::Uuid;

use super::*;
use crate::harness::Metrics;

/// The metrics of the only allocator.
struct LaunchMetrics(Metrics);

impl LaunchMetrics {
    async fn of(game: &Game) -> Self {
        // The gauges are counted every ten seconds.
        game.server.settles().await;
        game.server.passes(10).await;
        let metrics = Metrics::of(&game.server).await;
        let samples = metrics.0.lines().filter(|line| !line.starts_with('#'));
        for label in samples.flat_map(|line| line.split('"').skip(1).step_by(2)) {
            // Each session and each player would be a series of its own.
            assert!(Uuid::try_parse(label).is_err(), "an id is a label: {label}");
        }
        Self(metrics)
    }

    #[track_caller]
    fn get(&self, name: &str, labels: &str) -> u64 {
        self.0.get(&format!("{name}{{allocator=\"test\"{labels}}}"))
    }

    /// How many launches were given a server, or failed for a reason.
    #[track_caller]
    fn launches(&self, outcome: &str, reason: &str) -> u64 {
        self.get("launches_total", &format!(",outcome=\"{outcome}\",reason=\"{reason}\""))
    }

    #[track_caller]
    fn failed_attempts(&self, reason: &str) -> u64 {
        self.get("launch_attempts_failed_total", &format!(",reason=\"{reason}\""))
    }

    /// How many launches have a server, by stage.
    #[track_caller]
    fn servers(&self) -> [u64; 4] {
        ["claimed", "placed", "up", "releasing"]
            .map(|state| self.get("servers", &format!(",state=\"{state}\"")))
    }

    /// How often a phase was measured, and its seconds all in all.
    #[track_caller]
    fn phase(&self, phase: &str) -> (u64, String) {
        let count = self.0.get(&format!("launch_seconds_count{{phase=\"{phase}\"}}"));
        (count, self.0.text(&format!("launch_seconds_sum{{phase=\"{phase}\"}}")).to_owned())
    }
}

#[tokio::test]
async fn a_launch_that_succeeds_is_measured_phase_by_phase() {
    let game = Game::new().await;
    game.allocator.opens(false);
    game.requests().await;
    jobs::tick(&game.server.app).await.unwrap();
    game.server.clock.advance(Duration::from_secs(3));
    game.allocator.opens(true);
    game.server.settles().await;
    let allocation = game.allocation().await;
    for (seconds, join_status) in [(2, "pending"), (5, "joinable")] {
        game.server.passes(seconds).await;
        game.host_says(&allocation, join_status).await.expect(200);
    }
    let metrics = LaunchMetrics::of(&game).await;
    assert_eq!((metrics.launches("placed", ""), metrics.get("launch_attempts_total", "")), (1, 1));
    for (phase, seconds) in [("queue", "0.0"), ("place", "3.0"), ("start", "2.0"), ("joinable", "5.0")] {
        assert_eq!(metrics.phase(phase), (1, seconds.to_owned()), "{phase}");
    }
    assert_eq!(metrics.servers(), [0, 0, 1, 0]);
    assert_eq!((metrics.get("launch_queue", ""), metrics.get("allocator_ready", "")), (0, 1));
}

#[tokio::test]
async fn a_launch_that_fails_is_counted_by_its_reason() {
    let game = Game::new().await;
    game.allocator.answers(Placement::Never { reason: Reason::Misconfigured, detail: "no fleet".into() });
    game.requests().await;
    let metrics = LaunchMetrics::of(&game).await;
    let counts = (metrics.launches("failed", "misconfigured"), metrics.failed_attempts("misconfigured"));
    assert_eq!((counts, metrics.get("launch_attempts_total", "")), ((1, 1), 1));
    assert_eq!((metrics.servers(), metrics.get("allocator_ready", "")), ([0; 4], 0));
    game.requests().await;
    let metrics = LaunchMetrics::of(&game).await;
    assert_eq!((metrics.launches("placed", ""), metrics.launches("failed", "misconfigured")), (1, 1));
    assert_eq!((metrics.servers(), metrics.get("allocator_ready", "")), ([0, 1, 0, 0], 1));
}

#[tokio::test]
async fn each_attempt_that_times_out_is_counted() {
    let game = Game::with(LaunchRules { attempts_max: 2, ..LaunchRules::default() }, |_| {}).await;
    game.launches().await;
    game.server.passes(120).await;
    game.server.passes(2).await;
    let metrics = LaunchMetrics::of(&game).await;
    assert_eq!((metrics.launches("placed", ""), metrics.failed_attempts("start_timeout")), (2, 1));
    assert_eq!(metrics.servers(), [0, 1, 0, 0], "the first server was stopped at once");
    game.server.passes(120).await;
    let metrics = LaunchMetrics::of(&game).await;
    let counts = (metrics.launches("failed", "start_timeout"), metrics.failed_attempts("start_timeout"));
    assert_eq!((counts, metrics.get("launch_attempts_total", "")), ((1, 2), 2));
    assert_eq!(metrics.servers(), [0, 0, 0, 1], "the second one may stop by itself");
}

#[tokio::test]
async fn launches_that_wait_and_servers_that_no_launch_knows_are_counted() {
    let game = Game::new().await;
    let retry_after = Some(Duration::from_secs(30));
    let (reason, detail) = (Reason::NoCapacity, "all in use".into());
    game.allocator.answers(Placement::Later { retry_after, reason, detail });
    game.allocator.holds_at_most(0);
    game.requests().await;
    let metrics = LaunchMetrics::of(&game).await;
    assert_eq!((metrics.get("launch_queue", ""), metrics.servers()), (1, [0; 4]));
    assert_eq!(metrics.get("allocator_ready", ""), 1, "an answer is an answer");
    game.allocator.takes("orphan");
    for _ in 0..6 {
        game.server.passes(10).await;
    }
    let metrics = LaunchMetrics::of(&game).await;
    assert_eq!((metrics.launches("failed", "no_capacity"), metrics.get("launch_queue", "")), (1, 0));
    assert!(game.allocator.launches().len() > 1, "it was told to wait again");
    assert_eq!(metrics.get("launch_attempts_total", ""), 1, "all the same, it is one attempt");
    assert_eq!(metrics.get("orphans_released_total", ""), 1);
}
