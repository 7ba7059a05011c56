//! The session browser: listing a session, and finding listed ones.

use http::Method;

use crate::api::MISSING;
use crate::api::policies::*;
use crate::http::operation::Operation;
use crate::http::surface::Tag;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::wire::CustomDataBody;
use crate::api::wire::listing::BrowserView;
use crate::app::sessions::StoredListing;
use crate::app::{App, Update};
use crate::auth::Caller;
use crate::document::Document;
use crate::domain::instance::Health;
use crate::domain::session::listing::Listing;
use crate::domain::{Refused, Session};
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::params::{Cursor, PageSize, RefreshQuery, RegionId, SessionPath, params};
use crate::http::operation::Input;
use crate::http::reply::{NoContent, Plain, Reply, Versioned};
use crate::records::Listed;

/// The group of these operations in the API document.
pub const TAG: Tag = Tag::new("Browser", "Sessions that are listed for anyone to find.");

/// The operations of this group.
#[rustfmt::skip]
pub fn rows() -> Vec<Operation> {
    use Method as M;
    vec![
        Operation::new(M::GET, "get_browser_sessions_by_type", "/v1/browser", page, READ_BROWSER, "A page of listed sessions of a type")
            .about("Open to be found by anyone. Start at cursor 0; an answer with cursor 0 is the last."),
        Operation::new(M::POST, "post_browser_info", "/v1/session/{session_id}/browser", list, UPDATE_BROWSER, "List a session in the browser").may_fail(MISSING)
            .about("Anyone may find it then, with the data given here. The caller leads the session, and its template allows it."),
        Operation::new(M::PATCH, "update_browser_info", "/v1/session/{session_id}/browser", update, UPDATE_BROWSER, "Change what a session's listing shows").may_fail(MISSING)
            .about("The data is replaced whole. The caller leads the session."),
        Operation::new(M::DELETE, "delete_browser_info", "/v1/session/{session_id}/browser", unlist, UPDATE_BROWSER, "Take a session out of the browser").may_fail(MISSING)
            .about("The session goes on. The caller leads it."),
    ]
}

/// Listings looked at for one page: a filter that fits few of them must not make one request read them all. The
/// cursor then says where to go on.
const LISTINGS_LOOKED_AT_MAX: usize = 1_000;
/// Bytes of listings, as stored, looked at for one page: each may show as much data as a session may have.
const LISTING_BYTES_MAX: usize = 4 << 20;
/// Listings read from the store together, so that no request holds many more of them than it shows.
const LISTINGS_READ_AT_ONCE: usize = 16;
/// Most places that a listing can show (contract: `max_player_count`).
const SLOTS_SHOWN_MAX: usize = 100;

params! {
    /// The query of a page of the browser.
    BrowserQuery in "query" {
        /// The type of sessions.
        session_type: String,
        /// Where the page begins: 0, or the cursor of the page before.
        cursor: Cursor,
        /// Most sessions on the page.
        page_size: PageSize,
        /// Only sessions that prefer this region.
        region_id: RegionId,
    }
}

/// Listing a session, or changing what its listing shows.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "BrowserInfoUpdate")]
pub struct BrowserUpdate {
    /// Data shown with it, replaced whole.
    #[serde(default)]
    custom_data: CustomDataBody,
}

/// A page of the browser.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BrowserResponse")]
pub struct BrowserPage {
    /// Where the next page begins; 0 after the last.
    cursor: u64,
    /// The sessions.
    browser_sessions: Vec<ListedView>,
}

/// A listed session.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "BrowserSessionInfo")]
pub struct ListedView {
    /// Its id.
    #[schemars(length(min = 1, max = 128))]
    session_id: String,
    /// How well its instance is.
    #[serde(skip_serializing_if = "Option::is_none")]
    instance_health: Option<Health>,
    /// Its active players.
    player_count: usize,
    /// Its places, as far as the contract can count them.
    #[schemars(range(min = 1, max = 100))]
    max_player_count: usize,
    /// Data shown with it.
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

/// A page of listed sessions, in the order they were listed. It is read in pieces, and ends before what would be too
/// much; then its cursor is behind the last listing looked at.
pub async fn page(
    app: Arc<App>,
    _: Caller,
    Input { query, .. }: Input<(), BrowserQuery>,
) -> Result<Reply<Versioned<BrowserPage>>, Error> {
    let (mut browser_sessions, mut behind) = (Vec::new(), query.cursor.0);
    let (mut looked_at, mut bytes) = (0, 0);
    let cursor = 'looking: loop {
        let piece = app.sessions.listed(&query.session_type, behind, LISTINGS_READ_AT_ONCE).await?;
        let is_last = piece.len() < LISTINGS_READ_AT_ONCE;
        for StoredListing { number, bytes: stored_bytes, listed } in piece {
            let fits = query.region_id.0.is_none() || listed.region_id == query.region_id.0;
            let is_full = fits && browser_sessions.len() == query.page_size.0;
            (looked_at, bytes) = (looked_at + 1, bytes + stored_bytes);
            // One is looked at whatever it takes, so that the next page begins further on.
            let is_enough =
                looked_at > LISTINGS_LOOKED_AT_MAX || (looked_at > 1 && bytes > LISTING_BYTES_MAX);
            if is_full || is_enough {
                break 'looking behind;
            }
            behind = number;
            if fits {
                browser_sessions.push(listed.into());
            }
        }
        if is_last {
            break 0;
        }
    };
    Ok(Reply::document(&Document::of(&BrowserPage { cursor, browser_sessions })))
}

/// Lists a session.
pub async fn list(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(update) }: Input<SessionPath, RefreshQuery, Json<BrowserUpdate>>,
) -> Result<Reply<Plain<BrowserView>>, Error> {
    let (actor, catalog) = (caller.actor(), app.catalog());
    // Asked first what the rule asks again, so that a refusal uses up no number.
    let cached = app.sessions.get_latest(&path.session_id).await?;
    cached.session.require_listable(actor, catalog.template_of(&cached.session))?;
    let sequence = match &cached.session.listing {
        Some(listing) => listing.sequence,
        None => app.sessions.next_listing_number().await?,
    };
    let listing = Listing { sequence, created: app.clock.now(), custom_data: update.custom_data.0 };
    let rule = move |session: &mut Session| {
        let template = catalog.template_of(session);
        session.list(actor, listing.clone(), template)
    };
    let ((), cached) =
        app.sessions.update(&path.session_id, Update::by_caller(query.refresh_ttl.0), rule).await?;
    listing_of(&cached.session)
}

/// Changes what a session's listing shows.
pub async fn update(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, body: Json(update) }: Input<SessionPath, RefreshQuery, Json<BrowserUpdate>>,
) -> Result<Reply<Plain<BrowserView>>, Error> {
    let actor = caller.actor();
    let rule = move |session: &mut Session| session.update_listing(actor, update.custom_data.0.clone());
    let ((), cached) =
        app.sessions.update(&path.session_id, Update::by_caller(query.refresh_ttl.0), rule).await?;
    listing_of(&cached.session)
}

/// Takes a session out of the browser.
pub async fn unlist(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<SessionPath, RefreshQuery>,
) -> Result<Reply<NoContent>, Error> {
    let actor = caller.actor();
    let rule = move |session: &mut Session| session.unlist(actor);
    app.sessions.update(&path.session_id, Update::by_caller(query.refresh_ttl.0), rule).await?;
    Ok(Reply::no_content())
}

fn listing_of(session: &Session) -> Result<Reply<Plain<BrowserView>>, Error> {
    let listing = session.listing.as_ref().ok_or(Refused::ListingNotFound)?;
    Ok(Reply::plain(&BrowserView::of(listing)))
}
