//! Get Platform Session Info.

use std::sync::Arc;

use crate::api::wire::platform::{PlatformSessionView, platform_document};
use crate::app::App;
use crate::auth::{Caller, Permission};
use crate::domain::{Platform, PlatformSessionId, Refused};
use crate::http::error::Error;
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{Reply, Versioned};

/// Get Platform Session Info.
pub async fn info(
    app: Arc<App>,
    caller: Caller,
    Input { path, .. }: Input<PlatformSessionPath>,
) -> Result<Reply<Versioned<PlatformSessionView>>, Error> {
    let key = (path.platform, path.platform_session_id_base64);
    let cached =
        app.sessions.find_by_platform_session(&key).await?.ok_or(Refused::PlatformSessionNotFound)?;
    cached.session.require_active(caller.actor_unless(Permission::ReadAny))?;
    app.presence.heartbeat(caller.player(), &cached);
    let document = platform_document(&cached, key.0).ok_or(Refused::PlatformSessionNotFound)?;
    Ok(Reply::document(document))
}

params! {
    /// The path of a platform session.
    PlatformSessionPath in "path" {
        /// Platform, spelled exactly so.
        platform: Platform,
        /// The platform's own id of its session: opaque, compared byte for byte.
        platform_session_id_base64: PlatformSessionId,
    }
}
