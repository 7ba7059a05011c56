//! The session browser: listing sessions, and finding listed sessions.

use std::sync::Arc;

use http::Method;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::MISSING;
use crate::api::change::Change;
use crate::api::policies::*;
use crate::api::wire::CustomDataBody;
use crate::api::wire::listing::BrowserView;
use crate::app::App;
use crate::app::sessions::StoredListing;
use crate::app::waits::{Topic, WaitOn};
use crate::auth::Caller;
use crate::document::Document;
use crate::domain::instance::Health;
use crate::domain::session::listing::Listing;
use crate::domain::{Refused, Session};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::param_types::{Cursor, PageSize, RefreshQuery, RegionId, SessionPath};
use crate::http::input::params::params;
use crate::http::operation::{Input, Operation};
use crate::http::reply::{NoContent, Plain, Reply, Watched};
use crate::http::surface::Tag;
use crate::records::Listed;

/// The group of these operations in the API document.
pub const TAG: Tag =
    Tag::new("Browser", "Sessions that their leaders have listed, so that every player can find them.");

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "get_browser_sessions_by_type", "/v1/browser", page, READ_BROWSER, "Read a page of the listed sessions of a type")
            .about("The first page has cursor 0. An answer with cursor 0 is the last page."),
        Operation::new(M::POST, "post_browser_info", "/v1/session/{session_id}/browser", list, UPDATE_BROWSER, "List a session in the browser").may_fail(MISSING).takes_if_match()
            .about("Every player can then find the session, with the data of this request. The caller must be the leader of the session, and its template must allow it."),
        Operation::new(M::PATCH, "update_browser_info", "/v1/session/{session_id}/browser", update, UPDATE_BROWSER, "Change the data of a session's listing").may_fail(MISSING).takes_if_match()
            .about("The data is replaced as a whole. The caller must be the leader of the session."),
        Operation::new(M::DELETE, "delete_browser_info", "/v1/session/{session_id}/browser", unlist, UPDATE_BROWSER, "Remove a session from the browser").may_fail(MISSING).takes_if_match()
            .about("The session continues. The caller must be its leader."),
    ]
}

/// Largest number of listings that one request reads, so that a filter with few matches does not make it read all of
/// them. The cursor then says where the next page starts.
const LISTINGS_READ_MAX: usize = 1_000;
/// Largest size of the stored listings that one request reads, in bytes. A listing can have as much custom data as a
/// session.
const LISTING_BYTES_MAX: usize = 256 << 10;
/// Number of listings in one read from the store. It is small, so that a request holds few more listings than it shows.
const LISTINGS_PER_READ: usize = 16;
/// Largest `max_player_count` that the contract allows.
const SLOTS_SHOWN_MAX: usize = 100;

params! {
    /// Query of a page of the browser.
    BrowserQuery in "query" {
        /// Type of session.
        session_type: String,
        /// Start of the page: 0, or the `cursor` of the previous page.
        cursor: Cursor,
        /// Largest number of sessions on the page.
        page_size: PageSize,
        /// Shows only sessions with this preferred region.
        region_id: RegionId,
    }
}

/// A new listing of a session, or a change of it.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "BrowserInfoUpdate")]
pub struct BrowserUpdate {
    /// Custom data of the listing. It replaces the previous data as a whole.
    #[serde(default)]
    custom_data: CustomDataBody,
}

/// A page of listed sessions.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BrowserResponse")]
pub struct BrowserPage {
    /// Start of the next page, or 0 on the last page.
    cursor: u64,
    /// Sessions on the page.
    browser_sessions: Vec<ListedView>,
}

/// A listed session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BrowserSessionInfo")]
pub struct ListedView {
    /// Session id.
    #[schemars(length(min = 1, max = 128))]
    session_id: String,
    /// Health of the session's instance.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_health: Option<Health>,
    /// Number of active players.
    player_count: usize,
    /// Number of slots of all teams, at most 100.
    #[schemars(range(min = 1, max = 100))]
    max_player_count: usize,
    /// Custom data of the listing.
    custom_data: CustomDataBody,
}

impl From<Listed> for ListedView {
    fn from(listed: Listed) -> Self {
        Self {
            session_id: listed.session_id.to_string(),
            instance_health: listed.health,
            player_count: listed.players,
            max_player_count: listed.slots.clamp(1, SLOTS_SHOWN_MAX),
            custom_data: CustomDataBody(listed.custom_data),
        }
    }
}

/// Reads a page of listed sessions, in the order in which they were listed. The page ends early at the limits of what
/// one request reads. The cursor is the number of the last listing that was read.
pub async fn page(
    app: Arc<App>,
    _: Caller,
    Input { query, .. }: Input<(), BrowserQuery>,
) -> Result<Reply<Watched<BrowserPage>>, Error> {
    let mut browser_sessions = Vec::new();
    let mut last_number = query.cursor.0;
    let mut listings_read = 0;
    let mut bytes_read = 0;
    let cursor = 'reads: loop {
        let batch = app.sessions.listed(&query.session_type, last_number, LISTINGS_PER_READ).await?;
        let is_last_batch = batch.len() < LISTINGS_PER_READ;
        for StoredListing { number, bytes, listed } in batch {
            let is_in_region = query.region_id.0.is_none() || listed.region_id == query.region_id.0;
            let is_full = is_in_region && browser_sessions.len() == query.page_size.0;
            listings_read += 1;
            bytes_read += bytes;
            // The first listing may have any size. Otherwise a large one would end every page before it.
            let is_over_limit =
                listings_read > LISTINGS_READ_MAX || (listings_read > 1 && bytes_read > LISTING_BYTES_MAX);
            if is_full || is_over_limit {
                break 'reads last_number;
            }
            last_number = number;
            if is_in_region {
                browser_sessions.push(listed.into());
            }
        }
        if is_last_batch {
            break 0;
        }
    };
    let wait_on = WaitOn::topic(Topic::Listings(query.session_type.into())).shared();
    Ok(Reply::watched(&Document::of(&BrowserPage { cursor, browser_sessions }), wait_on))
}

/// Lists a session in the browser.
pub async fn list(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(update), conditions }: Input<
        SessionPath,
        RefreshQuery,
        Json<BrowserUpdate>,
    >,
) -> Result<Reply<Plain<BrowserView>>, Error> {
    let (actor, catalog) = (caller.actor(), app.catalog());
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0);
    let app = &change.app;
    // Checked before the rule, so that a refused request does not consume a listing number.
    let cached = app.sessions.get_latest(&path.session_id).await?;
    let checked = cached.session.require_listable(actor, catalog.template_of(&cached.session));
    let sequence = match (&checked, &cached.session.listing) {
        (Err(_), _) => 0,
        (Ok(()), Some(listing)) => listing.sequence,
        (Ok(()), None) => {
            change.require_condition(&cached)?;
            app.sessions.next_listing_number().await?
        }
    };
    let listing = Listing { sequence, created: app.clock.now(), custom_data: update.custom_data.0 };
    let rule = move |session: &mut Session| {
        checked.clone()?;
        let template = catalog.template_of(session);
        session.list(actor, listing.clone(), template)
    };
    change.run(&path.session_id, rule, |(), after| listing_of(after.session())).await
}

/// Changes the custom data of a session's listing.
pub async fn update(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(update), conditions }: Input<
        SessionPath,
        RefreshQuery,
        Json<BrowserUpdate>,
    >,
) -> Result<Reply<Plain<BrowserView>>, Error> {
    let actor = caller.actor();
    let rule = move |session: &mut Session| session.update_listing(actor, update.custom_data.0.clone());
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0);
    change.run(&path.session_id, rule, |(), after| listing_of(after.session())).await
}

/// Removes a session from the browser.
pub async fn unlist(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, conditions, .. }: Input<SessionPath, RefreshQuery>,
) -> Result<Reply<NoContent>, Error> {
    let actor = caller.actor();
    let rule = move |session: &mut Session| session.unlist(actor);
    let change = Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0);
    change.run(&path.session_id, rule, |(), _| Ok(Reply::no_content())).await
}

fn listing_of(session: &Session) -> Result<Reply<Plain<BrowserView>>, Error> {
    let listing = session.listing.as_ref().ok_or(Refused::ListingNotFound)?;
    Ok(Reply::plain(&BrowserView::of(listing)))
}
