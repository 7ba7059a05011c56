//! Reading a platform session: the operation Get Platform Session Info.

use std::sync::Arc;

use crate::api::wire::platform::{PlatformSessionView, readable_platform_document};
use crate::app::App;
use crate::app::touch::{touch, wait_on_session};
use crate::auth::Caller;
use crate::domain::{Platform, PlatformSessionId, Refused};
use crate::http::error::Error;
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{Reply, Watched};

/// Reads a platform session, and records a heartbeat of the caller.
pub async fn info(
    app: Arc<App>,
    caller: Caller,
    Input { path, .. }: Input<PlatformSessionPath>,
) -> Result<Reply<Watched<PlatformSessionView>>, Error> {
    let key = (path.platform, path.platform_session_id_base64);
    let cached =
        app.sessions.find_by_platform_session(&key).await?.ok_or(Refused::PlatformSessionNotFound)?;
    readable_platform_document(&caller, &cached, &key)?;
    let cached = touch(&app, &caller, cached, false).await?;
    let document = readable_platform_document(&caller, &cached, &key)?;
    Ok(Reply::watched(document, wait_on_session(&app, &cached)))
}

params! {
    /// Path of a platform session.
    PlatformSessionPath in "path" {
        /// Platform. Upper and lower case matter.
        platform: Platform,
        /// The platform's own id of its session. The server does not parse it and compares it byte for byte.
        platform_session_id_base64: PlatformSessionId,
    }
}
