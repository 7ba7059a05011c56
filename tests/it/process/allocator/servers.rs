//! Starts, limits and ends of servers.

use super::*;
use crate::allocators::check_conformance;

#[tokio::test]
async fn a_server_is_started_once_found_listed_and_stopped() {
    let world = World::new(WAIT).await;
    let launch = launch(1);
    let Placement::Placed(placed) = world.allocator().place(&launch).await else { panic!() };
    let id = launch.allocation_id.as_str();
    world.logged(id, "ready").await;
    assert_eq!(world.allocator().place(&launch).await, Placement::Placed(placed.clone()));
    assert_eq!(world.allocator().find(id).await, Found::Placed(placed.clone()));
    world.clock.advance(Duration::from_secs(7));
    let held = world.allocator().list().await.unwrap();
    let [held] = &held[..] else { panic!("{held:?}") };
    assert_eq!((held.allocation_id.as_str(), &held.handle, held.age.as_secs()), (id, &placed.handle, 7));
    assert!(runs(server_pid(&placed)));

    assert_eq!(world.release(id, ReleaseMode::Hard).await, Released::Gone);
    assert!(!runs(server_pid(&placed)));
    assert_eq!(world.exited().await, (id.to_owned(), "signal 9".to_owned()));
    assert_eq!(world.allocator().find(id).await, Found::Absent);
    assert_eq!(world.allocator().list().await, Some(Vec::new()));
    assert_eq!(world.release(id, ReleaseMode::Hard).await, Released::Gone);
    let again = world.allocator().place(&launch).await;
    assert!(matches!(&again, Placement::Never { reason: Reason::Refused, .. }), "{again:?}");
}

#[tokio::test]
async fn it_does_what_every_allocator_does() {
    let world = World::new(WAIT).await;
    let end = async |id: &str| assert_eq!(world.exited().await, (id.to_owned(), "signal 15".to_owned()));
    check_conformance(world.allocator(), end).await;
}

#[tokio::test]
async fn unknown_and_odd_allocations_are_gone_and_lead_nowhere() {
    let world = World::new("exit 0").await;
    std::fs::create_dir(world.dir.path().join("other")).unwrap();
    for id in [
        "",
        ".",
        "../other",
        "/",
        "11111111-1111-4111-8111-11111111111A",
        &Entropy::System.uuid().to_string(),
    ] {
        assert_eq!(world.release(id, ReleaseMode::Hard).await, Released::Gone, "{id}");
        assert_eq!(world.allocator().find(id).await, Found::Absent, "{id}");
    }
    let odd = Launch { allocation_id: "../other".into(), ..launch(1) };
    assert!(matches!(world.allocator().place(&odd).await, Placement::Never { .. }));
    assert_eq!(std::fs::read_dir(world.dir.path().join("other")).unwrap().count(), 0);
}

#[tokio::test]
async fn only_the_named_variables_are_inherited() {
    let world = World::with(&["/usr/bin/env"], |_| ()).await;
    let (id, _) = world.placed().await;
    assert_eq!(world.exited().await, (id.clone(), "exit status 0".to_owned()));
    let log = world.text(&id, "server.log");
    assert!(log.lines().any(|line| line == "GAME=chess"), "{log}");
    for line in log.lines() {
        let name = line.split('=').next().unwrap();
        assert!(["GAME", "PATH", "HOME", "TMPDIR", "LANG"].contains(&name), "{line}");
    }
    assert!(
        std::env::vars().any(|(name, _)| name == "CARGO_MANIFEST_DIR"),
        "there is one that is not inherited"
    );
}

#[tokio::test]
async fn arguments_are_filled_and_no_text_of_a_player_gets_into_them() {
    let placeholders = [
        "-a={port} {port2}",
        "{public_host}",
        "{base_url}",
        "{session_id}",
        "{instance_id}",
        "{allocation_id}",
        "{session_type}",
        "<{region_id}>",
        "{allocation_file}",
        "{dir}",
        "{\"a b\"}; $(id)",
    ];
    let command = [&["/bin/sh", "-c", "printf '%s\\n' \"$@\"; pwd", "server"][..], &placeholders].concat();
    let world = World::with(&command, |_| ()).await;
    let launch = launch(1);
    let Placement::Placed(placed) = world.allocator().place(&launch).await else { panic!() };
    let id = launch.allocation_id.clone();
    world.exited().await;
    let dir = world.settings.dir.canonicalize().unwrap().join(&id).display().to_string();
    let port = placed.port.unwrap();
    let expected = [
        format!("-a={port} {}", port + 1),
        "127.0.0.1".into(),
        "http://127.0.0.1:7700".into(),
        launch.session_id.to_string(),
        launch.instance_id,
        id.clone(),
        "match".into(),
        "<>".into(),
        format!("{dir}/allocation.json"),
        dir.clone(),
        "{\"a b\"}; $(id)".into(),
        dir,
    ];
    assert_eq!(world.text(&id, "server.log").lines().collect::<Vec<_>>(), expected);
    let allocation: Value = serde_json::from_str(&world.text(&id, "allocation.json")).unwrap();
    let fields = [("AllocationUUID", id), ("SessionId", launch.session_id.to_string())];
    let address = [("ConnectionIP", "127.0.0.1".to_owned()), ("ConnectionPort", port.to_string())];
    let expected: serde_json::Map<_, _> =
        fields.into_iter().chain(address).map(|(name, value)| (name.to_owned(), value.into())).collect();
    assert_eq!(allocation, Value::Object(expected));
}

#[tokio::test]
async fn ids_that_players_may_choose_become_arguments_only_if_they_are_harmless() {
    let world =
        World::with(&["/bin/sh", "-c", "echo \"$1\"", "server", "{instance_id}<{region_id}>"], |_| ()).await;
    let id = "11111111-1111-4111-8111-111111111111";
    for (instance_id, region, expected) in [
        (id, Some("eu"), format!("{id}<eu>")),
        ("mine", None, "<>".into()),
        ("..", Some("-log"), "<>".into()),
    ] {
        let (region_id, region) = (Some("us".to_owned()), region.map(str::to_owned));
        let launch = Launch { instance_id: instance_id.into(), region_id, region, ..launch(1) };
        assert!(matches!(world.allocator().place(&launch).await, Placement::Placed(_)));
        world.exited().await;
        assert_eq!(world.text(&launch.allocation_id, "server.log").trim(), expected);
    }
}

#[tokio::test]
async fn a_server_has_a_client_of_its_own_until_it_ends() {
    let clients = Arc::new(Clients::default());
    let login = ServerLogin::PerLaunch(Arc::clone(&clients) as Arc<dyn LaunchClients>);
    let mut world = World::with(&["/bin/sh", "-c", WAIT], |settings| settings.login = login).await;
    let (id, _) = world.placed().await;
    let secret = world.text(&id, "client-secret");
    assert_eq!(world.text(&id, "client-id"), format!("launch:{id}"));
    assert_eq!(world.text(&id, "credentials"), format!("launch:{id}\n{secret}\n"));
    for file in std::fs::read_dir(world.file(&id, "")).unwrap().map(Result::unwrap) {
        assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{file:?}");
    }
    assert_eq!(world.file(&id, "").metadata().unwrap().permissions().mode() & 0o777, 0o700);
    let command =
        std::fs::read_to_string(format!("/proc/{}/cmdline", world.shim_pid(&id))).unwrap_or_default();
    assert!(!command.contains(&secret), "{command}");
    clients.0.lock().unwrap().clear();
    world.restart().await;
    assert_eq!(*clients.0.lock().unwrap(), std::slice::from_ref(&id), "an adopted server can still log in");
    world.release(&id, ReleaseMode::Hard).await;
    assert_eq!(*clients.0.lock().unwrap(), [""; 0]);
    assert!(!world.file(&id, "client-secret").exists() && !world.file(&id, "credentials").exists());
}

#[tokio::test]
async fn the_operators_client_is_handed_out_without_its_line_break() {
    let secret = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&secret, "hidden\n").unwrap();
    let login = ServerLogin::Own { client_id: "studio".into(), secret_file: secret.path().into() };
    let command =
        ["/bin/sh", "-c", "cat \"$2\"; echo; echo $1", "server", "{client_id}", "{client_secret_file}"];
    let world = World::with(&command, |settings| settings.login = login).await;
    let (id, _) = world.placed().await;
    assert_eq!(world.logged(&id, "studio").await, "hidden\nstudio\n");
    drop(secret);
    let refused = world.allocator().place(&launch(2)).await;
    assert!(matches!(&refused, Placement::Later { reason: Reason::Unavailable, .. }), "{refused:?}");
}

#[tokio::test]
async fn a_launch_beyond_the_limit_takes_nothing() {
    let world = World::with(&["/bin/sh", "-c", WAIT], |settings| settings.servers_max = 1).await;
    let (first, _) = world.placed().await;
    let second = launch(2);
    let answer = world.allocator().place(&second).await;
    assert!(matches!(&answer, Placement::Later { reason: Reason::NoCapacity, .. }), "{answer:?}");
    assert!(!world.file(&second.allocation_id, "").exists(), "nothing was taken");
    world.release(&first, ReleaseMode::Hard).await;
    assert!(matches!(world.allocator().place(&second).await, Placement::Placed(_)));
}

#[tokio::test]
async fn a_port_rests_and_a_foreign_one_is_skipped() {
    let world = World::with(&["/bin/sh", "-c", WAIT], |settings| {
        settings.ports = *settings.ports.start()..=settings.ports.start() + 2;
        settings.ports_per_server = 1;
    });
    let world = world.await;
    let first = *world.settings.ports.start();
    let foreign = std::net::UdpSocket::bind(("127.0.0.1", first + 1)).unwrap();
    let (id, placed) = world.placed().await;
    assert_eq!(placed.port, Some(first));
    assert_eq!(world.placed().await.1.port, Some(first + 2));
    let waiting = launch(2);
    let answer = world.allocator().place(&waiting).await;
    assert!(matches!(&answer, Placement::Later { reason: Reason::NoPort, .. }), "{answer:?}");
    drop(foreign);
    world.release(&id, ReleaseMode::Hard).await;
    let Placement::Placed(placed) = world.allocator().place(&waiting).await else { panic!() };
    assert_eq!(placed.port, Some(first + 1), "the port of the ended server rests");
    assert!(matches!(world.allocator().place(&launch(3)).await, Placement::Later { .. }));
    world.clock.advance(Duration::from_secs(5));
    let Placement::Placed(placed) = world.allocator().place(&launch(3)).await else { panic!() };
    assert_eq!(placed.port, Some(first));
}

#[tokio::test]
async fn a_server_that_ignores_sigterm_is_killed() {
    let world = World::new(&format!("trap 'echo asked' TERM; {WAIT}")).await;
    let (id, placed) = world.placed().await;
    world.logged(&id, "ready").await;
    assert_eq!(world.release(&id, ReleaseMode::Soft).await, Released::Later);
    world.logged(&id, "asked").await;
    assert!(runs(server_pid(&placed)));
    assert_eq!(world.release(&id, ReleaseMode::Hard).await, Released::Gone);
    assert!(!runs(server_pid(&placed)));
}

#[tokio::test]
async fn a_server_that_is_asked_to_stop_stops() {
    let world = World::new(&format!("trap 'echo asked; exit 3' TERM; {WAIT}")).await;
    let (id, _) = world.placed().await;
    world.logged(&id, "ready").await;
    assert_eq!(world.release(&id, ReleaseMode::Soft).await, Released::Later);
    assert_eq!(world.exited().await, (id.clone(), "exit status 3".to_owned()));
    assert_eq!(world.release(&id, ReleaseMode::Soft).await, Released::Gone);
}

#[tokio::test]
async fn the_children_of_a_server_end_with_it() {
    for (rest, is_released) in [(WAIT, true), ("echo ready; exit 0", false)] {
        let world = World::new(&format!("{CHILDREN}; {rest}")).await;
        let (id, _) = world.placed().await;
        let children = children(&world.logged(&id, "ready").await);
        assert_eq!(children.len(), 2);
        if is_released {
            assert_eq!(world.release(&id, ReleaseMode::Hard).await, Released::Gone);
        }
        world.exited().await;
        for child in children {
            until("the child is gone", || !runs(child)).await;
        }
    }
}

#[tokio::test]
async fn the_exit_status_and_the_end_of_the_log_are_kept() {
    let world = World::new("echo one; echo two >&2; exit 5").await;
    let (id, _) = world.placed().await;
    assert_eq!(world.exited().await, (id.clone(), "exit status 5".to_owned()));
    assert_eq!(world.text(&id, "server.log"), "one\ntwo\n");
    let exit: Value = serde_json::from_str(&world.text(&id, "exit")).unwrap();
    assert_eq!(exit["code"], 5);
    assert_eq!(world.allocator().find(&id).await, Found::Absent);
}

#[tokio::test]
async fn a_server_is_listed_while_it_ends_and_afterwards() {
    let world = World::new("exit 0").await;
    for count in 1..=10 {
        let (id, _) = world.placed().await;
        let is_ended = || {
            let servers = world.allocator().servers();
            assert_eq!(servers.len(), count, "{servers:?}");
            servers.iter().any(|server| server.allocation_id == id && server.state == ServerState::Ended)
        };
        while !is_ended() {
            tokio::task::yield_now().await;
        }
    }
}

#[tokio::test]
async fn a_long_log_keeps_its_first_half_and_its_end() {
    let world = World::new("i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i+1)); done; exit 1").await;
    let (id, _) = world.placed().await;
    world.exited().await;
    let log = world.text(&id, "server.log");
    assert!(log.len() <= 65_536 && log.starts_with("line 0\nline 1\n") && log.ends_with("line 19999\n"));
    assert!(log.contains("line 2500\n") && log.contains("bytes left out") && !log.contains("line 10000\n"));
}

#[tokio::test]
async fn the_directories_of_the_newest_ended_servers_are_kept() {
    let mut world = World::with(&["/bin/sh", "-c", "exit 0"], |settings| settings.keep_finished = 1).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(world.placed().await.0);
        world.exited().await;
    }
    let kept =
        |world: &World| ids.iter().filter(|id| world.file(id, "").exists()).cloned().collect::<Vec<_>>();
    until("the older ones are deleted", || kept(&world) == ids[2..]).await;
    world.settings.keep_finished = 0;
    world.restart().await;
    assert_eq!(kept(&world), [""; 0]);
}

#[tokio::test]
async fn a_program_that_cannot_run_is_the_operators_mistake() {
    let program = tempfile::NamedTempFile::new().unwrap();
    let path = program.path().to_str().unwrap().to_owned();
    let world = World::with(&[&path], |_| ()).await;
    let (mut answers, launch) = (Vec::new(), launch(1));
    // It may not be executed, and then it is gone.
    answers.push(world.allocator().place(&launch).await);
    drop(program);
    answers.push(world.allocator().place(&launch).await);
    for answer in answers {
        let Placement::Never { reason: Reason::Misconfigured, detail } = answer else { panic!("{answer:?}") };
        assert!(detail.starts_with(&path), "{detail}");
    }
    assert_eq!(world.allocator().find(&launch.allocation_id).await, Found::Absent);
    assert_eq!(world.allocator().list().await, Some(Vec::new()));
}

#[tokio::test]
async fn a_dropped_call_loses_no_server() {
    let world = World::new(WAIT).await;
    let launch = launch(1);
    // It is polled once.
    assert!(futures_util::FutureExt::now_or_never(world.allocator().place(&launch)).is_none());
    let found =
        || futures_util::FutureExt::now_or_never(world.allocator().find(&launch.allocation_id)).unwrap();
    assert_eq!(found(), Found::CannotTell);
    until("the server is there", || matches!(found(), Found::Placed(_))).await;
    assert_eq!(world.release(&launch.allocation_id, ReleaseMode::Hard).await, Released::Gone);
}
