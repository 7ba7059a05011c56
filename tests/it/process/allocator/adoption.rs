//! Crashes of Rallypoint and of shims: an allocation never has two servers, and no server is lost.

use std::process::Stdio;

use tokio::process::Command;

use super::*;

#[tokio::test]
async fn a_running_server_is_adopted() {
    let mut world = World::new("echo ready; while [ ! -e go ]; do sleep 0.05; done; echo end; exit 7").await;
    let launch = launch(1);
    let Placement::Placed(placed) = world.allocator().place(&launch).await else { panic!() };
    let id = launch.allocation_id.as_str();
    world.logged(id, "ready").await;
    world.restart().await;
    assert_eq!(world.allocator().find(id).await, Found::Placed(placed.clone()));
    assert_eq!(world.allocator().place(&launch).await, Placement::Placed(placed.clone()));
    assert_eq!(world.allocator().list().await.unwrap().len(), 1);
    let (_, other) = world.placed().await;
    assert!(other.port > placed.port.map(|port| port + 1), "the ports of the adopted server are in use");
    std::fs::write(world.file(id, "go"), "").unwrap();
    assert_eq!(world.exited().await, (id.to_owned(), "exit status 7".to_owned()));
    assert_eq!(world.text(id, "server.log"), "ready\nend\n");
}

#[tokio::test]
async fn an_adopted_server_can_be_stopped() {
    let mut world = World::new(&format!("trap 'echo asked' TERM; {WAIT}")).await;
    let (id, placed) = world.placed().await;
    world.logged(&id, "ready").await;
    world.restart().await;
    assert_eq!(world.release(&id, ReleaseMode::Soft).await, Released::Later);
    world.logged(&id, "asked").await;
    assert_eq!(world.release(&id, ReleaseMode::Hard).await, Released::Gone);
    assert!(!runs(server_pid(&placed)));
}

/// The server of a killed Rallypoint ended by itself. The caller learns both: that it was placed, and that it ended.
#[tokio::test]
async fn a_server_that_ended_meanwhile_is_not_started_again() {
    let mut world = World::new("exit 5").await;
    let launch = launch(1);
    let Placement::Placed(placed) = world.allocator().place(&launch).await else { panic!() };
    world.exited().await;
    world.restart().await;
    assert_eq!(world.allocator().find(&launch.allocation_id).await, Found::Absent);
    assert_eq!(world.allocator().place(&launch).await, Placement::Placed(placed));
    assert_eq!(world.exited().await, (launch.allocation_id, "exit status 5".to_owned()));
}

#[tokio::test]
async fn a_server_without_its_shim_is_killed() {
    for is_adopted in [false, true] {
        let mut world = World::new(&format!("{CHILDREN}; {WAIT}")).await;
        let (id, placed) = world.placed().await;
        let children = children(&world.logged(&id, "ready").await);
        if is_adopted {
            world.restart().await;
        }
        kill_process(world.shim_pid(&id), Signal::KILL).unwrap();
        assert_eq!(world.exited().await, (id, "killed together with its shim".to_owned()));
        assert!(!runs(server_pid(&placed)));
        for child in children {
            until("the child is gone", || !runs(child)).await;
        }
    }
}

/// While Rallypoint was down, the server ended and another process got its number.
#[tokio::test]
async fn a_process_with_a_reused_number_is_neither_killed_nor_adopted() {
    let mut world = World::new(WAIT).await;
    let (id, _) = world.placed().await;
    world.logged(&id, "ready").await;
    world.lose(&id).await;
    let mut innocent = Command::new("sleep").arg("1000").process_group(0).kill_on_drop(true).spawn().unwrap();
    let number = serde_json::json!({ "pid": innocent.id(), "start": 1 });
    let pid = serde_json::json!({ "server": number, "shim": number });
    std::fs::write(world.file(&id, "pid"), pid.to_string()).unwrap();
    world.restart().await;
    assert_eq!(world.allocator().find(&id).await, Found::Absent);
    assert_eq!(world.release(&id, ReleaseMode::Hard).await, Released::Gone);
    assert_eq!(innocent.try_wait().unwrap(), None);
    innocent.kill().await.unwrap();
}

/// The same, but the server still runs. Its lock tells which processes are its own.
#[tokio::test]
async fn a_server_whose_number_is_lost_is_killed_by_its_lock() {
    let mut world = World::new(WAIT).await;
    let (id, placed) = world.placed().await;
    world.logged(&id, "ready").await;
    let mut innocent = Command::new("sleep").arg("1000").process_group(0).kill_on_drop(true).spawn().unwrap();
    let number = serde_json::json!({ "pid": innocent.id(), "start": 1 });
    let pid = serde_json::json!({ "server": number, "shim": number });
    std::fs::write(world.file(&id, "pid"), pid.to_string()).unwrap();
    world.restart().await;
    assert_eq!(world.exited().await.0, id);
    assert!(!runs(server_pid(&placed)));
    assert_eq!(innocent.try_wait().unwrap(), None);
    innocent.kill().await.unwrap();
}

/// A child of the server has left its group, and the server ended while Rallypoint was down.
#[tokio::test]
async fn a_process_that_an_ended_server_has_left_is_killed() {
    let script =
        "setsid sleep 1000 & echo child $!; echo ready; while [ ! -e go ]; do sleep 0.05; done; exit 5";
    let mut world = World::new(script).await;
    let (id, _) = world.placed().await;
    let children = children(&world.logged(&id, "ready").await);
    world.allocator = None;
    std::fs::write(world.file(&id, "go"), "").unwrap();
    until("the server has ended", || world.file(&id, "exit").exists()).await;
    assert!(runs(children[0]));
    world.restart().await;
    assert_eq!(world.exited().await, (id, "exit status 5".to_owned()));
    assert!(!runs(children[0]));
}

#[tokio::test]
async fn a_directory_that_cannot_be_used_stops_no_start() {
    let mut world = World::new(WAIT).await;
    let [(full, _), (broken, _)] = [world.placed().await, world.placed().await];
    let (running, placed) = world.placed().await;
    for id in [&full, &broken, &running] {
        world.logged(id, "ready").await;
    }
    world.lose(&full).await;
    world.lose(&broken).await;
    // As on a full disk: the end of the server cannot be stored.
    std::fs::create_dir(world.file(&full, &format!(".exit.{}", std::process::id()))).unwrap();
    std::fs::remove_file(world.file(&broken, "alive")).unwrap();
    std::fs::create_dir(world.file(&broken, "alive")).unwrap();
    world.restart().await;
    for id in [&full, &broken] {
        assert_eq!(world.allocator().find(id).await, Found::Absent);
    }
    assert_eq!(world.allocator().find(&running).await, Found::Placed(placed));
    assert_eq!(world.release(&running, ReleaseMode::Hard).await, Released::Gone);
}

/// Starts a shim by hand and returns the first line of its report.
async fn shim(world: &World, id: &str) -> String {
    let mut shim = Command::new(&world.settings.shim);
    let alive = std::fs::File::open(world.file(id, "alive")).unwrap();
    shim.arg("server-shim").arg(world.file(id, "")).stdin(alive).stdout(Stdio::piped());
    let mut shim = shim.spawn().unwrap();
    let mut out = tokio::io::BufReader::new(shim.stdout.take().unwrap());
    let mut line = String::new();
    tokio::io::AsyncBufReadExt::read_line(&mut out, &mut line).await.unwrap();
    // One that has started a server goes on.
    tokio::spawn(async move { shim.wait().await });
    line.trim().to_owned()
}

/// As after a crash before the first shim: the files are there, and there is no server.
async fn prepared(world: &mut World) -> String {
    let (id, _) = world.placed().await;
    world.logged(&id, "ready").await;
    world.lose(&id).await;
    for file in ["pid", "server.log"] {
        std::fs::remove_file(world.file(&id, file)).unwrap();
    }
    id
}

#[tokio::test]
async fn of_many_shims_in_one_directory_one_starts_a_server() {
    let mut world = World::new(WAIT).await;
    let id = prepared(&mut world).await;
    let reports = futures_util::future::join_all((0..8).map(|_| shim(&world, &id))).await;
    let started: Vec<_> = reports.iter().filter(|report| report.contains("started")).collect();
    assert_eq!(started.len(), 1, "{reports:?}");
    assert_eq!(reports.iter().filter(|report| *report == "\"locked\"").count(), 7, "{reports:?}");
    world.restart().await;
    assert!(matches!(world.allocator().find(&id).await, Found::Placed(_)));
    assert_eq!(world.release(&id, ReleaseMode::Hard).await, Released::Gone);
    assert_eq!(shim(&world, &id).await, "\"ended\"");
}

/// A crash came between the files and the shim, or between the shim and the answer. The call is made again.
#[tokio::test]
async fn a_launch_that_was_broken_off_is_made_again() {
    let mut world = World::new(WAIT).await;
    let id = prepared(&mut world).await;
    world.restart().await;
    let again = Launch { allocation_id: id.clone(), ..launch(1) };
    assert_eq!(world.allocator().find(&id).await, Found::Absent);
    let Placement::Placed(placed) = world.allocator().place(&again).await else { panic!() };
    assert!(runs(server_pid(&placed)));
    world.release(&id, ReleaseMode::Hard).await;
}

/// A shim that the killed Rallypoint has started is late. The call gets its server, with the files that it was started with.
#[tokio::test]
async fn the_files_of_a_server_stay_as_they_were_when_its_shim_took_the_lock() {
    let clients = Arc::new(Clients::default());
    let login = ServerLogin::PerLaunch(Arc::clone(&clients) as Arc<dyn LaunchClients>);
    let mut world = World::with(&["/bin/sh", "-c", WAIT], |settings| settings.login = login).await;
    let id = prepared(&mut world).await;
    world.restart().await;
    // It gets the ports that are free now.
    let (other, _) = world.placed().await;
    std::fs::write(world.file(&id, "client-secret"), "a secret of more than forty characters, as all are")
        .unwrap();
    let files = ["launch.json", "client-secret", "allocation.json"].map(|name| world.text(&id, name));
    let launched: Value = serde_json::from_str(&files[0]).unwrap();
    assert!(shim(&world, &id).await.contains("started"));
    let again = Launch { allocation_id: id.clone(), ..launch(1) };
    let Placement::Placed(placed) = world.allocator().place(&again).await else { panic!() };
    assert_eq!(server_pid(&placed), world.server_pid(&id), "the call gets the server of that shim");
    assert_eq!(placed.port.map(Value::from), Some(launched["ports"][0].clone()));
    assert_eq!(["launch.json", "client-secret", "allocation.json"].map(|name| world.text(&id, name)), files);
    assert!(clients.0.lock().unwrap().contains(&id), "the server can log in");
    for id in [id, other] {
        world.release(&id, ReleaseMode::Hard).await;
    }
}

/// The session ended meanwhile, so nobody asks for the server again.
#[tokio::test]
async fn a_late_shim_of_a_released_launch_starts_no_server() {
    let mut world = World::new(WAIT).await;
    let id = prepared(&mut world).await;
    world.restart().await;
    assert_eq!(world.release(&id, ReleaseMode::Soft).await, Released::Gone);
    assert_eq!(shim(&world, &id).await, "\"ended\"");
    let again = Launch { allocation_id: id, ..launch(1) };
    assert!(matches!(world.allocator().place(&again).await, Placement::Never { .. }));
}

#[tokio::test]
async fn two_allocators_do_not_share_a_directory() {
    let world = World::new(WAIT).await;
    let second = ProcessAllocator::open(world.settings.clone(), world.clock.clone(), Entropy::System).await;
    assert!(second.err().unwrap().to_string().contains("another server uses this directory"));
}

#[tokio::test]
async fn all_servers_can_be_killed_at_once() {
    let world = World::new(WAIT).await;
    let servers = [world.placed().await.1, world.placed().await.1];
    world.allocator().kill_all().await;
    for server in &servers {
        assert!(!runs(server_pid(server)));
    }
    assert_eq!(world.allocator().list().await, Some(Vec::new()));
}
