//! Linking and unlinking platform sessions.

use std::sync::Arc;

use crate::api::change::{After, Change};
use crate::api::wire::platform::{PlatformSessionView, platform_document};
use crate::app::App;
use crate::auth::{Caller, Permission};
use crate::domain::{Platform, PlatformSessionId, Refused, Session, SessionId};
use crate::http::error::Error;
use crate::http::input::param_types::RefreshQuery;
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{NoContent, Reply, Versioned};

params! {
    /// Path of the link between a platform session and a session.
    LinkPath in "path" {
        /// Platform. Upper and lower case matter.
        platform: Platform,
        /// The platform's own id of its session. The server does not parse it and compares it byte for byte.
        platform_session_id_base64: PlatformSessionId,
        /// Session id, or a short code of the session.
        session_id: SessionId,
    }
}

/// Links a platform session to a session, and adds the caller to the platform session.
pub async fn link(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, conditions, .. }: Input<LinkPath, RefreshQuery>,
) -> Result<Reply<Versioned<PlatformSessionView>>, Error> {
    let (actor, linker) = (caller.actor_unless(Permission::UpdateAny), caller.player());
    let (platform, catalog) = (path.platform, app.catalog());
    let key = (platform, path.platform_session_id_base64);
    let rule = || {
        let (id, catalog) = (key.1.clone(), Arc::clone(&catalog));
        move |session: &mut Session| {
            let template = catalog.template_of(session);
            let entry = template.and_then(|template| template.platform_templates.get(&platform));
            session.link(actor, linker, platform, &id, entry)
        }
    };
    let answer = move |(): &(), after: &After<'_>| {
        let document = platform_document(after.cached, platform).ok_or(Refused::PlatformSessionNotFound)?;
        Ok(Reply::document(document))
    };
    let change = Change::by(app, caller, conditions)
        .keeping_alive(query.refresh_ttl.0)
        .of_platform_session(key.clone());
    let linked = change.clone().run(&path.session_id, rule(), answer).await;
    // The other session may be past its deadline already. Then it is ended now, before the expiry job does it.
    if matches!(linked, Err(Error::Refused(Refused::PlatformSessionInUse)))
        && change.app.sessions.expire_holder_of(&key).await?
    {
        return change.run(&path.session_id, rule(), answer).await;
    }
    linked
}

/// Unlinks a platform session from its session.
pub async fn unlink(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, conditions, .. }: Input<LinkPath, RefreshQuery>,
) -> Result<Reply<NoContent>, Error> {
    let actor = caller.actor_unless(Permission::UpdateAny);
    let (platform, id) = (path.platform, path.platform_session_id_base64);
    let key = (platform, id.clone());
    let rule = move |session: &mut Session| session.unlink(actor, platform, &id);
    let change =
        Change::by(app, caller, conditions).keeping_alive(query.refresh_ttl.0).of_platform_session(key);
    change.run(&path.session_id, rule, |(), _| Ok(Reply::no_content())).await
}
