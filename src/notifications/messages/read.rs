//! Reading the messages of a player.

use std::sync::Arc;

use crate::app::App;
use crate::app::notifications::cursor::{Cursor, Subject};
use crate::app::notifications::inbox::MessagesPage;
use crate::app::waits::{Topic, WaitOn};
use crate::auth::Caller;
use crate::document::Document;
use crate::domain::inbox::MessageNumber;
use crate::domain::{PlayerUuid, Refused};
use crate::http::error::Error;
use crate::http::input::params::params;
use crate::http::operation::Input;
use crate::http::reply::{Plain, Reply, Watched};
use crate::notifications::long_poll::change_notification;
use crate::notifications::wire::{MaybeId, Notification, Notifications, PageSize, PlayerPath};

params! {
    /// Query of a page.
    PageQuery in "query" {
        /// Most notifications on the page.
        page_size: PageSize,
        /// Start of the page, which is the first notification on it: the `cursor` of the page before. Without it, and if nothing can be read from it, the page starts at the newest notification.
        start_at: MaybeId,
        /// Only notifications after the one with this id. Ignored if nothing can be read from it.
        exclude_before: MaybeId,
    }
}

params! {
    /// Path of a notification of the caller's player.
    OwnPath in "path" {
        /// Id of the notification.
        notification_id: String,
    }
}

params! {
    /// Path of a notification of a player.
    ByUuidPath in "path" {
        /// Player UUID.
        player_uuid: PlayerUuid,
        /// Id of the notification.
        notification_id: String,
    }
}

/// Reads a page of the messages for the caller's player.
pub async fn own_page(
    app: Arc<App>,
    caller: Caller,
    Input { query, .. }: Input<(), PageQuery>,
) -> Result<Reply<Watched<Notifications>>, Error> {
    page(&app, caller.require_player()?, query).await
}

/// Reads a page of the messages for a player.
pub async fn page_by_uuid(
    app: Arc<App>,
    caller: Caller,
    Input { path, query, .. }: Input<PlayerPath, PageQuery>,
) -> Result<Reply<Watched<Notifications>>, Error> {
    caller.require_reach(path.player_uuid)?;
    page(&app, path.player_uuid, query).await
}

async fn page(
    app: &App,
    player: PlayerUuid,
    query: PageQuery,
) -> Result<Reply<Watched<Notifications>>, Error> {
    let number = |id: MaybeId| id.0.and_then(|id| number_of(&id, player));
    let (start_at, after) = (number(query.start_at), number(query.exclude_before));
    let MessagesPage { messages, older, seen } =
        app.inboxes.page(player, start_at, after, query.page_size.0).await?;
    let messages = messages.into_iter().map(|(number, message)| Notification::of_message(number, message));
    let page = Notifications {
        notifications: messages.collect(),
        cursor: older.map(MessageNumber::id).unwrap_or_default(),
    };
    Ok(Reply::watched(&Document::of(&page), WaitOn::topic(Topic::Inbox(player)).seen(seen)))
}

/// Reads a notification of the caller's player.
pub async fn own(
    app: Arc<App>,
    caller: Caller,
    Input { path, .. }: Input<OwnPath>,
) -> Result<Reply<Plain<Notification>>, Error> {
    let player = caller.require_player()?;
    by_id(&app, &caller, player, &path.notification_id).await
}

/// Reads a notification of a player.
pub async fn by_uuid(
    app: Arc<App>,
    caller: Caller,
    Input { path, .. }: Input<ByUuidPath>,
) -> Result<Reply<Plain<Notification>>, Error> {
    caller.require_reach(path.player_uuid)?;
    by_id(&app, &caller, path.player_uuid, &path.notification_id).await
}

async fn by_id(
    app: &App,
    caller: &Caller,
    player: PlayerUuid,
    id: &str,
) -> Result<Reply<Plain<Notification>>, Error> {
    let of_session = Cursor::decode(id, player).filter(|cursor| cursor.subject != Subject::Message);
    if let Some(cursor) = of_session {
        let found = change_notification(app, caller, player, &cursor).await?;
        return Ok(Reply::plain(&found.ok_or(Refused::NotificationNotFound)?));
    }
    let number = number_of(id, player).ok_or(Refused::NotificationNotFound)?;
    let message = app.inboxes.message(player, number).await?.ok_or(Refused::NotificationNotFound)?;
    Ok(Reply::plain(&Notification {
        notification_id: id.to_owned(),
        ..Notification::of_message(number, message)
    }))
}

/// The number of the last message that an id tells of: a short id, or one that a long poll has given.
fn number_of(id: &str, player: PlayerUuid) -> Option<MessageNumber> {
    let of_cursor = || Cursor::decode(id, player).map(|cursor| MessageNumber(cursor.last_message));
    MessageNumber::of_id(id).or_else(of_cursor)
}
