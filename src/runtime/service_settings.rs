//! Settings of the services of the application, from the sections of the configuration.

use std::time::Duration;

use crate::app::idempotency::IdempotencySettings;
use crate::app::{AuditSettings, MatcherSettings, MatchmakingSettings, NotificationSettings};
use crate::config::{AuditSection, IdempotencySection, MatchmakingSection, NotificationsSection};

/// Settings of notifications.
pub(super) fn notification_settings(notifications: &NotificationsSection) -> NotificationSettings {
    NotificationSettings {
        lookback_ms: i64::from(notifications.lookback_s) * 1000,
        own_delay_ms: i64::from(notifications.own_delay_ms),
        messages_per_player_max: notifications.messages_per_player_max,
        message_keep_ms: i64::from(notifications.message_keep_s) * 1000,
        counts_as_heard: notifications.counts_as_heard,
    }
}

/// How long answers are kept for repeated requests, and limits.
pub(super) fn idempotency_settings(idempotency: IdempotencySection) -> IdempotencySettings {
    IdempotencySettings {
        keep_ms: i64::from(idempotency.keep_s) * 1000,
        body_bytes_max: idempotency.body_bytes_max,
        keys_per_caller_max: idempotency.keys_per_caller_max,
    }
}

/// Limits of tickets in queues.
pub(super) fn matchmaking_settings(matchmaking: MatchmakingSection) -> MatchmakingSettings {
    let timeout = Duration::from_secs(matchmaking.ticket_timeout_s.into());
    MatchmakingSettings {
        ticket_timeout: Some(timeout).filter(|timeout| !timeout.is_zero()),
        passed_queue_time_max_s: matchmaking.passed_queue_time_max_s.into(),
        queues_per_ticket_max: matchmaking.queues_per_ticket_max,
        profiles_per_ticket_max: matchmaking.profiles_per_ticket_max,
    }
}

/// The matcher.
pub(super) fn matcher_settings(matchmaking: MatchmakingSection) -> MatcherSettings {
    MatcherSettings {
        is_enabled: matchmaking.enabled,
        pass_every: Duration::from_millis(matchmaking.pass_every_ms.into()),
        poll: Duration::from_millis(matchmaking.poll_ms.into()),
        node_timeout: Duration::from_secs(matchmaking.node_timeout_s.into()),
        threads: matchmaking.threads,
    }
}

/// Whether events are stored, for how long, and limits.
pub(super) fn audit_settings(audit: AuditSection) -> AuditSettings {
    AuditSettings {
        is_on: audit.enabled,
        keep_ms: i64::from(audit.keep_days) * 86_400_000,
        events_per_session_max: audit.events_per_session_max,
        customer_events_per_session_max: audit.customer_events_per_session_max,
        bytes_max: audit.bytes_max,
    }
}
