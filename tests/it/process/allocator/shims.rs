//! Shims that fail, hang or come late.

use super::*;

/// A program in place of the shim: a shell script, whose first argument is the path of the real one.
fn script(dir: &TempDir, text: &str) -> PathBuf {
    let path = dir.path().join("shim");
    let text = format!("#!/bin/sh\nset -- {} \"$@\"\n{text}\n", env!("CARGO_BIN_EXE_rallypoint"));
    std::fs::write(&path, text).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o700)).unwrap();
    path
}

/// The time for the report of a shim is a part of it.
const SHORT: Duration = Duration::from_millis(400);
const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_shim_that_reports_nothing_is_ended() {
    let dir = TempDir::new().unwrap();
    for (text, place_timeout, expected) in [
        ("exec sleep 1000", SHORT, "no report within 300 ms"),
        // A line that does not end.
        ("exec tr '\\0' x < /dev/zero", LONG, "its report is broken"),
        ("echo trouble >&2", LONG, "it ended without a report; exit status: 0 trouble"),
    ] {
        let text = format!("echo $$ > \"$3/own-pid\"; {text}");
        let world = World::with(&["/bin/sh", "-c", WAIT], |settings| {
            (settings.shim, settings.place_timeout) = (script(&dir, &text), place_timeout);
            settings.servers_max = 1;
        });
        let world = world.await;
        // The second one shows that the place of the first one is free again.
        for launch in [launch(1), launch(2)] {
            let Placement::Later { reason: Reason::Unavailable, detail, .. } = known(&world, &launch).await
            else {
                panic!("{text}");
            };
            assert!(detail.contains(expected) && detail.contains(&launch.allocation_id), "{detail}");
            assert_eq!(world.allocator().find(&launch.allocation_id).await, Found::Absent);
            // A shim may be killed before its first step.
            let shim = world.text(&launch.allocation_id, "own-pid").trim().parse::<i32>();
            assert!(shim.is_err() || !runs(pid_of(shim.unwrap())), "{text}");
        }
    }
}

#[tokio::test]
async fn a_server_whose_shim_reports_nonsense_is_killed() {
    let dir = TempDir::new().unwrap();
    let text =
        "exec 3<&0; \"$@\" <&3 > /dev/null & until [ -s \"$3/pid\" ]; do sleep 0.01; done; echo nonsense";
    let world = World::with(&["/bin/sh", "-c", WAIT], |settings| settings.shim = script(&dir, text)).await;
    let launch = launch(1);
    let Placement::Unknown { .. } = world.allocator().place(&launch).await else { panic!() };
    let id = launch.allocation_id.as_str();
    assert_eq!(world.exited().await.0, id);
    assert!(!runs(world.server_pid(id)) && !runs(world.shim_pid(id)));
    assert_eq!(world.allocator().find(id).await, Found::Absent);
}

/// Rallypoint stops, for example, while the shim still loads.
#[tokio::test]
async fn a_server_that_was_released_before_its_shim_has_reported_is_killed() {
    let dir = TempDir::new().unwrap();
    let text = "until [ -e \"$3/go\" ]; do sleep 0.01; done; exec \"$@\"";
    let world = World::with(&["/bin/sh", "-c", WAIT], |settings| settings.shim = script(&dir, text)).await;
    for mode in [ReleaseMode::Soft, ReleaseMode::Hard] {
        let launch = launch(1);
        let id = launch.allocation_id.as_str();
        let placing = world.allocator().place(&launch);
        let releasing = async {
            until("its directory is there", || world.file(id, "launch.json").exists()).await;
            let mut releasing = std::pin::pin!(world.release(id, mode));
            // It notes the release before it waits for the disk.
            let released = futures_util::FutureExt::now_or_never(releasing.as_mut());
            std::fs::write(world.file(id, "go"), "").unwrap();
            if released.is_none() {
                releasing.await;
            }
        };
        tokio::join!(placing, releasing);
        let gone = async {
            while world.allocator().find(id).await != Found::Absent {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        soon("the server is gone", gone).await;
    }
}

/// A disk that hangs: a file that can be opened only together with its reader.
#[tokio::test]
async fn a_disk_that_hangs_delays_no_other_call() {
    let world = World::new(WAIT).await;
    let (id, placed) = world.placed().await;
    let slow = world.file(&id, &format!(".released.{}", std::process::id()));
    assert!(std::process::Command::new("mkfifo").arg(&slow).status().unwrap().success());
    let mut releasing = std::pin::pin!(world.release(&id, ReleaseMode::Soft));
    let other = tokio::select! {
        biased;
        _ = &mut releasing => panic!("it waits for its disk"),
        (other, _) = world.placed() => other,
    };
    assert_eq!(world.allocator().find(&id).await, Found::Placed(placed));
    assert_eq!(world.release(&other, ReleaseMode::Hard).await, Released::Gone);
    let reading = tokio::task::spawn_blocking(move || std::fs::read(slow).unwrap());
    assert_eq!(releasing.await, Released::Later);
    assert_eq!(reading.await.unwrap(), b"");
}

/// Calls `place` until it is known whether there is a server.
async fn known(world: &World, launch: &Launch) -> Placement {
    let calling = async {
        loop {
            match world.allocator().place(launch).await {
                Placement::Unknown { .. } => tokio::task::yield_now().await,
                answer => return answer,
            }
        }
    };
    soon("it is known whether there is a server", calling).await
}
