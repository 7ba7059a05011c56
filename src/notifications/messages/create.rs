//! Posting messages for a player.

use std::sync::Arc;

use crate::app::App;
use crate::auth::Caller;
use crate::domain::PlayerUuid;
use crate::domain::inbox::MessageNumber;
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::input::conditions::Conditions;
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};
use crate::notifications::wire::{NotificationCreateResult, NotificationsCreateRequest, PlayerPath};

/// Posts messages for the caller's player.
pub async fn own(
    app: Arc<App>,
    caller: Caller,
    Input { body: Json(request), conditions, .. }: Input<(), (), Json<NotificationsCreateRequest>>,
) -> Result<Reply<Plain<NotificationCreateResult>>, Error> {
    create(&app, caller.require_player()?, request, conditions).await
}

/// Posts messages for a player.
pub async fn by_uuid(
    app: Arc<App>,
    caller: Caller,
    Input { path, body: Json(request), conditions, .. }: Input<
        PlayerPath,
        (),
        Json<NotificationsCreateRequest>,
    >,
) -> Result<Reply<Plain<NotificationCreateResult>>, Error> {
    caller.require_reach(path.player_uuid)?;
    create(&app, path.player_uuid, request, conditions).await
}

async fn create(
    app: &App,
    player: PlayerUuid,
    request: NotificationsCreateRequest,
    conditions: Conditions,
) -> Result<Reply<Plain<NotificationCreateResult>>, Error> {
    let contents = request.notifications.into_iter().map(Into::into).collect();
    let stores_answer = move |last: MessageNumber| created(last).stored_for(&conditions);
    Ok(created(app.inboxes.append(player, contents, stores_answer).await?))
}

fn created(last: MessageNumber) -> Reply<Plain<NotificationCreateResult>> {
    Reply::plain(&NotificationCreateResult { notification_id: last.id() })
}
