//! The matchmaking queues from the configuration, in their current and their older form.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use crate::api::config::regions::PageQuery;
use crate::api::wire::CustomDataBody;
use crate::app::App;
use crate::app::waits::{Topic, WaitOn};
use crate::auth::Caller;
use crate::document::Document;
use crate::domain::matchmaking::{Matchmaking, Queue};
use crate::http::error::Error;
use crate::http::operation::Input;
use crate::http::reply::{Reply, Watched};

/// A page of the queues that parties can join.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "QueuesResponseV2")]
pub struct QueuesPage {
    /// Queues on the page. Fewer than `page_size`: the page is the last.
    queues: Vec<QueueView>,
}

/// A queue that parties can join.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "QueueConfigV2")]
pub struct QueueView {
    /// Id of the queue.
    #[schemars(length(min = 1, max = 128))]
    queue_id: String,
    /// Whether the queue can be joined.
    active: bool,
    /// Largest number of active players of a party that joins.
    max_queue_group_size: usize,
    /// Group of the matchmaking templates of the queue.
    match_making_template_group_id: Uuid,
    /// Data of the older form.
    legacy_config: CustomDataBody,
}

/// Deprecated: a page of the queues that parties can join, in its older form.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "QueuesResponse")]
pub struct LegacyQueuesPage {
    /// Queues on the page. Fewer than `page_size`: the page is the last.
    queues: Vec<LegacyQueueView>,
}

/// Deprecated: a queue that parties can join, in its older form.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "QueueConfig")]
pub struct LegacyQueueView {
    /// Id of the queue.
    #[schemars(length(min = 1, max = 128))]
    queue_id: String,
    /// Whether the queue can be joined.
    active: bool,
    /// Number of the rank.
    ranking_type: i64,
    /// Number of sides of a match.
    num_sides: usize,
    /// Largest number of players of a side.
    max_players_per_side: usize,
    /// Smallest number of players of a side.
    min_players_per_side: usize,
    /// Largest number of active players of a party that joins.
    max_queue_group_size: usize,
    /// Group of the matchmaking templates of the queue.
    match_making_template_group_id: Uuid,
}

impl QueueView {
    fn of(id: &str, queue: &Queue) -> Self {
        Self {
            queue_id: id.to_owned(),
            active: queue.active,
            max_queue_group_size: queue.max_queue_group_size,
            match_making_template_group_id: queue.match_making_template_group_id,
            legacy_config: CustomDataBody(queue.legacy_config.clone()),
        }
    }
}

impl LegacyQueueView {
    /// The sizes of sides are those of the first profile of the queue's default template; 0 if there is none.
    fn of(matchmaking: &Matchmaking, id: &str, queue: &Queue) -> Self {
        let profile = matchmaking.default_profile(queue);
        let sizes = profile.map(|p| (p.num_sides, p.min_players_per_side, p.max_players_per_side));
        let (num_sides, min_players_per_side, max_players_per_side) = sizes.unwrap_or_default();
        Self {
            queue_id: id.to_owned(),
            active: queue.active,
            ranking_type: queue.ranking_type,
            num_sides,
            max_players_per_side,
            min_players_per_side,
            max_queue_group_size: queue.max_queue_group_size,
            match_making_template_group_id: queue.match_making_template_group_id,
        }
    }
}

/// The active queues on a page, by id. The cursor is the number of queues on the pages before.
fn on_page<T>(matchmaking: &Matchmaking, page: &PageQuery, view: impl Fn(&str, &Queue) -> T) -> Vec<T> {
    let active = matchmaking.queues.iter().filter(|(_, queue)| queue.active);
    let skipped = usize::try_from(page.cursor.0).unwrap_or(usize::MAX);
    active.skip(skipped).take(page.page_size.0).map(|(id, queue)| view(id, queue)).collect()
}

/// Reads a page of queues.
pub async fn page(
    app: Arc<App>,
    _: Caller,
    Input { query, .. }: Input<(), PageQuery>,
) -> Result<Reply<Watched<QueuesPage>>, Error> {
    let queues = on_page(&app.catalog().matchmaking, &query, QueueView::of);
    Ok(Reply::watched(&Document::of(&QueuesPage { queues }), WaitOn::topic(Topic::Catalog)))
}

/// Deprecated: reads a page of queues in their older form.
pub async fn legacy_page(
    app: Arc<App>,
    _: Caller,
    Input { query, .. }: Input<(), PageQuery>,
) -> Result<Reply<Watched<LegacyQueuesPage>>, Error> {
    let matchmaking = Arc::clone(&app.catalog().matchmaking);
    let view = |id: &str, queue: &Queue| LegacyQueueView::of(&matchmaking, id, queue);
    let queues = on_page(&matchmaking, &query, view);
    Ok(Reply::watched(&Document::of(&LegacyQueuesPage { queues }), WaitOn::topic(Topic::Catalog)))
}
