use http::Method;
use rallypoint::runtime::server::all_surfaces;

use super::{NOTIFICATION, OWN, of, page, player, texts};
use crate::harness::{Client, Reply, Server};

/// Reads a page of the player's messages.
async fn read(caller: &Client, path: &str) -> u16 {
    caller.get(path).await.status.as_u16()
}

async fn write(caller: &Client, path: &str) -> u16 {
    caller.post(path, &texts(&["m"])).await.status.as_u16()
}

#[tokio::test]
async fn each_name_grants_what_it_says() {
    let server = Server::new();
    let other = of(player(&server).player);
    // For oneself: reading, writing; for others: reading, writing.
    for (name, expected) in [
        ("notification:player:*", [200, 200, 200, 200]),
        ("notification:*", [200, 200, 200, 200]),
        ("notification:player:read", [200, 403, 200, 403]),
        ("notification:player:write", [403, 200, 403, 200]),
        ("notification:player:self:*", [200, 200, 403, 403]),
        ("notification:player:self:read", [200, 403, 403, 403]),
        ("notification:player:self:write", [403, 200, 403, 403]),
        ("session:*", [403, 403, 403, 403]),
        ("*", [403, 403, 403, 403]),
    ] {
        let caller = server.player_with(None, &[name]).on(NOTIFICATION);
        for own in [OWN.to_owned(), of(caller.player)] {
            let found = [
                read(&caller, &own).await,
                write(&caller, &own).await,
                read(&caller, &other).await,
                write(&caller, &other).await,
            ];
            assert_eq!(found, expected, "{name} at {own}");
        }
    }
}

#[tokio::test]
async fn a_service_reads_and_writes_for_players_and_is_none_itself() {
    let server = Server::new();
    let service = server.service(&["notification:player:*"]).on(NOTIFICATION);
    let of_alice = of(player(&server).player);
    assert_eq!((write(&service, &of_alice).await, read(&service, &of_alice).await), (200, 200));
    service.get(OWN).await.refused(403, "player_required");
    service.post(OWN, &texts(&["m"])).await.refused(403, "player_required");
    let narrow = server.service(&["notification:player:self:*"]).on(NOTIFICATION);
    narrow.get(&of_alice).await.refused(403, "player_required");
}

#[tokio::test]
async fn the_operator_may_let_every_player_read_their_own_notifications() {
    let server = Server::with(|config| config.notifications.self_read_for_all = true);
    let alice = server.player_with(None, &["session:read:self"]).on(NOTIFICATION);
    server
        .service(&["notification:player:write"])
        .on(NOTIFICATION)
        .post(&of(alice.player), &texts(&["m"]))
        .await
        .expect(200);
    assert_eq!(page(&alice.get(OWN).await).0, ["m"]);
    assert_eq!(page(&alice.get(&of(alice.player)).await).0, ["m"]);
    alice.get(&of(player(&server).player)).await.refused(403, "permission_denied");
    alice.post(OWN, &texts(&["m"])).await.refused(403, "permission_denied");
    server.service(&[]).on(NOTIFICATION).get(OWN).await.refused(403, "permission_denied");
}

/// Published clients take a 404 for a service that is not there.
#[tokio::test]
async fn without_notifications_every_path_is_404() {
    let server = Server::with(|config| config.notifications.enabled = false);
    let alice = player(&server);
    let surface = all_surfaces().into_iter().find(|surface| surface.prefix == NOTIFICATION).unwrap();
    let send = async |method: Method, path: String| -> Reply {
        let request = http::Request::builder().method(method).uri(path);
        let request = request.header("authorization", format!("Bearer {}", alice.token.clone().unwrap()));
        alice.send_raw(request.body(http_body_util::Full::default()).unwrap()).await
    };
    for operation in &surface.operations {
        let player = alice.player.to_string();
        let path = operation.path.replace("{player_uuid}", &player).replace("{notification_id}", "1");
        send(operation.method.clone(), format!("{NOTIFICATION}{path}")).await.refused(404, "path_not_found");
    }
    send(Method::GET, format!("{NOTIFICATION}/openapi.json")).await.refused(404, "path_not_found");
}
