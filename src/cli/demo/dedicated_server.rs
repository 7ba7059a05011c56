//! The scene with a dedicated server: a party asks for one, a stand-in is launched as a process, a player connects to
//! it, the match ends, and the process ends.

use std::net::UdpSocket;

use serde_json::{Value, json};

use super::DemoPlayer;
use super::runner::{Expected, Runner, STEP_MAX, look_until};
use crate::allocators::process::ServerState;
use crate::cli::print;
use crate::runtime::server::Server;

/// The configuration of the demo: this program as a stand-in for a dedicated server. The ports are above those that
/// programs get without asking for one.
pub fn configuration(program: &str) -> String {
    let program = toml::Value::from(program);
    format!(
        r#"
[allocators.local]
kind = "process"
command = [{program}, "demo-server", "--base-url={{base_url}}", "--client-id={{client_id}}",
  "--client-secret-file={{client_secret_file}}", "--allocation-file={{allocation_file}}", "--port={{port}}",
  "--match-seconds=1"]
ports = "61000-61999"
"#
    )
}

/// The field of the connect parameters with the security token.
const TOKEN_FIELD: &str = "rh.SessionSecurityToken";

/// Shows the scene, in a party that `leader` leads and `member` is in.
pub fn show(
    runner: &mut Runner,
    server: &Server,
    party: &str,
    (leader, member): (&DemoPlayer, &DemoPlayer),
) -> Result<(), String> {
    runner.section("A dedicated server")?;
    let request = json!({
        "host_type": "dedicated", "instance_startup_params": { "map": "Dunes", "misc_params": "" },
    });
    let ask = leader.request("Bob asks for a dedicated server", "POST", format!("{party}/instance"));
    let asked = runner.call(ask.body(request), &Expected::OK)?;
    runner.check("the instance has been requested", asked.body["join_status"] == "requested");

    print(
        "\n# Rallypoint starts a server program, which logs in, finds the session and opens it for players\n",
    )?;
    let joinable = wait_for(runner, member, party, "joinable")?;
    runner.check("the server is joinable", joinable);
    let get = member.request("Alice reads how to connect", "GET", party);
    let read = runner.call(get, &Expected::OK)?;
    // Other programs may have taken the port of an earlier attempt: only the server of this one counts.
    let allocation = &read.body["instance"]["allocation_id"];
    let connected = connect(&read.body["instance"]["join_params"])?;
    runner.check("the server lets Alice in", connected);

    print("\n# the match lasts a second; then the server closes the instance, and its process ends\n")?;
    let closed = wait_for(runner, member, party, "closed")?;
    runner.check("the instance is closed", closed);
    let ended = look_until(|| {
        let servers = server.local_servers().list();
        let ended = servers.iter().find(|found| {
            found.server.state == ServerState::Ended && *allocation == found.server.allocation_id
        });
        Ok(ended.map(|found| found.server.exit.clone().unwrap_or_default()))
    })?;
    let exit = ended.unwrap_or_else(|| "the process still runs".into());
    print(&format!("  the process has ended: {exit}\n"))?;
    runner.check("the server process has ended with exit status 0", exit == "exit status 0");
    Ok(())
}

/// Reads the session until its instance has a status, and prints each status on the way.
fn wait_for(runner: &Runner, player: &DemoPlayer, session: &str, status: &str) -> Result<bool, String> {
    let mut last = Value::Null;
    let reached = look_until(|| {
        let now = runner.read(session, &player.token)?["instance"]["join_status"].clone();
        if now != last {
            print(&format!("  join_status: {}\n", now.as_str().unwrap_or("none")))?;
            last = now;
        }
        Ok((last == status).then_some(()))
    })?;
    Ok(reached.is_some())
}

/// Says hello to the server, as a game client would connect to it. Returns whether it has answered.
fn connect(join_params: &Value) -> Result<bool, String> {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let address = text(&join_params["public_conn_str"]);
    let hello = format!("hello {}", text(&join_params["custom_data"][TOKEN_FIELD]));
    print(&format!("\n# Alice connects to {address} by UDP, with the security token\n> {hello}\n"))?;
    let io = |error: std::io::Error| error.to_string();
    let socket = UdpSocket::bind("127.0.0.1:0").map_err(io)?;
    socket.connect(address.trim_start_matches("unreal://")).map_err(io)?;
    socket.set_read_timeout(Some(STEP_MAX)).map_err(io)?;
    socket.send(hello.as_bytes()).map_err(io)?;
    let mut answer = [0; 1_024];
    let length = socket.recv(&mut answer).map_err(io)?;
    print(&format!("< {}\n", String::from_utf8_lossy(&answer[..length])))?;
    Ok(answer[..length] == *hello.as_bytes())
}
