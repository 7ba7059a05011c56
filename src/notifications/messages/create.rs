//! Posting messages for a player.

use std::sync::Arc;

use crate::app::App;
use crate::auth::Caller;
use crate::domain::PlayerUuid;
use crate::http::error::Error;
use crate::http::input::body::Json;
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply};
use crate::notifications::wire::{NotificationCreateResult, NotificationsCreateRequest, PlayerPath};

/// Posts messages for the caller's player.
pub async fn own(
    app: Arc<App>,
    caller: Caller,
    Input { body: Json(request), .. }: Input<(), (), Json<NotificationsCreateRequest>>,
) -> Result<Reply<Plain<NotificationCreateResult>>, Error> {
    create(&app, caller.require_player()?, request).await
}

/// Posts messages for a player.
pub async fn by_uuid(
    app: Arc<App>,
    caller: Caller,
    Input { path, body: Json(request), .. }: Input<PlayerPath, (), Json<NotificationsCreateRequest>>,
) -> Result<Reply<Plain<NotificationCreateResult>>, Error> {
    caller.require_reach(path.player_uuid)?;
    create(&app, path.player_uuid, request).await
}

async fn create(
    app: &App,
    player: PlayerUuid,
    request: NotificationsCreateRequest,
) -> Result<Reply<Plain<NotificationCreateResult>>, Error> {
    let contents = request.notifications.into_iter().map(Into::into).collect();
    let last = app.inboxes.append(player, contents).await?;
    Ok(Reply::plain(&NotificationCreateResult { notification_id: last.id() }))
}
