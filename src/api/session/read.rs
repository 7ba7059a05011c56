//! Reading a session by its id or by its allocation.

use std::sync::Arc;

use crate::api::wire::session::SessionView;
use crate::api::wire::view::session_document;
use crate::app::touch::{touch, wait_on_session};
use crate::app::{App, CachedSession};
use crate::auth::Caller;
use crate::domain::Refused;
use crate::http::error::Error;
use crate::http::input::param_types::{AllocationId, RefreshQuery, SessionPath};
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{Reply, Watched};

params! {
    /// Path of an allocation.
    AllocationPath in "path" {
        /// Allocation id.
        allocation_id: AllocationId,
    }
}

/// Reads a session, in the caller's view.
pub async fn get(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<SessionPath, RefreshQuery>,
) -> Result<Reply<Watched<SessionView<'static>>>, Error> {
    let cached = app.sessions.get(&path.session_id).await?;
    let cached = touch(&app, &caller, cached, query.refresh_ttl.0).await?;
    Ok(Reply::watched(&session_document(&app, &caller, &cached), wait_on_session(&app, &cached)))
}

/// Reads the session that has an allocation, in the caller's view. Like every read it keeps the session alive: a server
/// that was just allocated polls it before it knows the session.
pub async fn by_allocation(
    app: Arc<App>,
    caller: Caller,
    Input { path, .. }: Input<AllocationPath>,
) -> Result<Reply<Watched<SessionView<'static>>>, Error> {
    let id = app.sessions.id_of_allocation(&path.allocation_id.0).await?.ok_or(Refused::SessionNotFound)?;
    let cached = app.sessions.get(&id).await?;
    let has_allocation = |cached: &CachedSession| cached.session.has_allocation(&path.allocation_id.0);
    // The session may have changed since the lookup. A server that reads another allocation than its own gives up.
    if !has_allocation(&cached) {
        return Err(Refused::SessionNotFound.into());
    }
    let cached = touch(&app, &caller, cached, true).await?;
    if !has_allocation(&cached) {
        return Err(Refused::SessionNotFound.into());
    }
    Ok(Reply::watched(&session_document(&app, &caller, &cached), wait_on_session(&app, &cached)))
}
