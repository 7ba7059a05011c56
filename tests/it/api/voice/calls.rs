//! Calls of Epic that do not end, and how few a player has under way.

use std::pin::pin;

use futures_util::future::join_all;
use rallypoint::voice::epic::OF_PLAYER_MAX;
use tokio::select;

use super::{crowd, game, room, with_epic};
use crate::support::stand_in::epic::EpicService;

#[tokio::test]
async fn a_service_without_tokens_or_keys_does_not_keep_players_waiting() {
    let service = EpicService::start().await;
    let url = format!("http://{}/jwks", service.address);
    let server = with_epic(&service, |epic| epic.connect_jwks_url = Some(url));
    let (_, bob, game) = game(&server).await;
    for (path, rest) in [("/auth/", ""), ("/jwks", "&connect_id_token=a.b.c")] {
        service.state.lock().unwrap().silent = Some(path);
        bob.get(&room(&game, rest)).await.refused(503, "voice_unavailable");
        assert_eq!(service.asked(path).len(), 1);
    }
    assert!(service.asked("/rtc/").is_empty());
}

#[tokio::test]
async fn a_player_has_few_requests_under_way() {
    let service = EpicService::start().await;
    let server = with_epic(&service, |_| {});
    let crowd = crowd(&server, &service, 2).await;
    let [(alice, game), (bob, other)] = &crowd[..] else { unreachable!() };
    service.state.lock().unwrap().silent = Some("/rtc/");
    let joins = || async { alice.get(&room(game, "")).await };
    let mut waiting = pin!(join_all((0..OF_PLAYER_MAX).map(|_| joins())));
    let further = async {
        while service.asked("/rtc/").len() < OF_PLAYER_MAX {
            tokio::task::yield_now().await;
        }
        // Refused at once: the others still wait.
        joins().await.refused(503, "voice_unavailable");
        service.state.lock().unwrap().silent = None;
        bob.get(&room(other, "")).await.expect(200);
    };
    select! {
        biased;
        _ = &mut waiting => panic!("the requests before have ended"),
        () = further => {}
    }
    assert_eq!(service.asked("/rtc/").len(), OF_PLAYER_MAX + 1);
}
