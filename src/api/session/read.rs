//! Reading a session by its id or by its allocation.

use std::sync::Arc;

use crate::api::wire::session::SessionView;
use crate::api::wire::view::{document_in, outline_view, session_document};
use crate::app::App;
use crate::app::touch::touch;
use crate::auth::Caller;
use crate::domain::Refused;
use crate::http::error::Error;
use crate::http::input::param_types::{AllocationId, RefreshQuery, SessionPath};
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{Reply, Versioned};

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
) -> Result<Reply<Versioned<SessionView<'static>>>, Error> {
    let cached = app.sessions.get(&path.session_id).await?;
    touch(&app, &caller, &cached, query.refresh_ttl.0).await?;
    Ok(Reply::document(&session_document(&app, &caller, &cached)))
}

/// Reads the session that has an allocation, as outsiders see it.
pub async fn by_allocation(
    app: Arc<App>,
    caller: Caller,
    Input { path, .. }: Input<AllocationPath>,
) -> Result<Reply<Versioned<SessionView<'static>>>, Error> {
    let id = app.sessions.id_of_allocation(&path.allocation_id.0).await?.ok_or(Refused::SessionNotFound)?;
    let cached = app.sessions.get(&id).await?;
    let view = outline_view(&app, &caller, &cached);
    Ok(Reply::document(&document_in(&app, &cached, view)))
}
