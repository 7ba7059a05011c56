//! The commands of the real binary that have no file of their own: output and exit status.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::harness::Reply;
use crate::support::connection::Connection;
use crate::support::process::{Finished, Server, rallypoint, run, serve};

/// Statuses of the answers that the demo prints, in order.
const DEMO: [&str; 31] = [
    "200", "200", "200", "200", "304", "403", "404", "422", // the platform session
    "200", "200", "200", "200", "200", "403", "200", "403", "200", "200", "204", "200", // the party
    "200", "200", // the dedicated server
    "200", "200", "200", "200", "200", "200", "200", "200", "200", // the match of two parties
];

#[tokio::test]
async fn the_demo_shows_every_answer_of_get_platform_session_info() {
    let Finished { stdout, .. } = run(rallypoint(&["demo"])).await.expect(0);
    let answers: Vec<_> = stdout.lines().filter_map(|line| line.strip_prefix("< ")).collect();
    let statuses = answers.iter().filter(|line| line.starts_with(|char: char| char.is_ascii_digit()));
    assert_eq!(statuses.map(|line| &line[..3]).collect::<Vec<_>>(), DEMO, "{stdout}");
    let headers = |name: &str| answers.iter().filter(|line| line.starts_with(name)).count();
    assert_eq!(headers("etag: \""), 19, "everything that answers a version: {stdout}");
    assert_eq!(headers("content-type: application/json"), DEMO.len() - 2, "all but 304 and 204: {stdout}");
    assert_eq!(stdout.matches("> If-None-Match: \"").count(), 3, "{stdout}");
    assert_eq!(stdout.matches("✓ OK").count(), DEMO.len(), "{stdout}");
    assert!(
        stdout
            .ends_with("\nAll answers are OK.\nNext: start a server of your own with `rallypoint serve`.\n"),
        "{stdout}"
    );

    // A request is held, another player's join ends it, and the answer shows the join.
    let wait = [
        "\n> Prefer: wait=20\n  the server holds this request",
        "\n# Bob accepts the invite\n",
        "\n# which has ended the wait: ",
        "\n< preference-applied: wait=20\n",
        "\"status\": \"member\"",
    ];
    let mut rest = &*stdout;
    for step in wait {
        rest = rest.split_once(step).unwrap_or_else(|| panic!("{step:?} does not follow in {stdout}")).1;
    }

    let data_dir = stdout.lines().next().unwrap().split("with its data in ").nth(1).unwrap();
    let data_dir = PathBuf::from(data_dir.strip_suffix('.').unwrap());
    assert!(!data_dir.exists(), "{} is left behind", data_dir.display());
}

#[tokio::test]
async fn the_curl_commands_of_the_demo_work_until_it_is_stopped() {
    let mut server = Server::spawn(rallypoint(&["demo", "--stay"])).await;
    let token = loop {
        if let Some(token) = server.said().await.strip_prefix("  TOKEN='") {
            break token.trim_end_matches('\'').to_owned();
        }
    };
    let mut connection = Connection::open(server.address, Some(&token)).await.unwrap();
    for status in [200, 304, 200, 200] {
        let curl = loop {
            let line = server.said().await;
            if line.trim_start().starts_with("curl ") {
                break line;
            }
        };
        let quoted: Vec<_> = curl.split('\'').skip(1).step_by(2).collect();
        let (url, header) = quoted.split_last().unwrap();
        let mut request = Request::get(url.strip_prefix(&format!("http://{}", server.address)).unwrap());
        for header in header {
            let (name, value) = header.split_once(": ").unwrap();
            request = request.header(name, value);
        }
        let request = request.body(Full::<Bytes>::default()).unwrap();
        Reply::from(connection.send(request).await.unwrap()).expect(status);
    }
    server.signal(Signal::INT);
    server.finished().await.expect(0);
}

#[tokio::test]
async fn a_demo_that_stays_ends_with_its_terminal_and_removes_its_files() {
    for signal in [Signal::HUP, Signal::TERM] {
        let temporary = TempDir::new().unwrap();
        let mut demo = rallypoint(&["demo", "--stay"]);
        demo.env("TMPDIR", temporary.path());
        let mut server = Server::spawn(demo).await;
        while !server.said().await.starts_with("The server stays") {}
        assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 1);
        server.signal(signal);
        server.finished().await.expect(0);
        assert_eq!(std::fs::read_dir(temporary.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn openapi_prints_the_same_document_as_openapi_json() {
    let unknown = run(rallypoint(&["openapi", "nothing"])).await.expect(1);
    assert!(unknown.stderr.contains("choose one of session"), "{}", unknown.stderr);
    let printed = run(rallypoint(&["openapi"])).await.expect(0);
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    assert_eq!(printed.stdout, std::fs::read_to_string(root.join("openapi.json")).unwrap());
}

#[tokio::test]
async fn help_names_the_defaults() {
    for (command, defaults) in [
        ("serve", &["127.0.0.1:7700", "127.0.0.1:7701", "./rallypoint-data", "config.default.toml"][..]),
        ("token", &["1h", "./rallypoint-data", "a player's"]),
    ] {
        let Finished { stdout, .. } = run(rallypoint(&[command, "--help"])).await.expect(0);
        let text = stdout.split_whitespace().collect::<Vec<_>>().join(" ");
        for default in defaults {
            assert!(text.contains(default), "{command} --help does not name {default}: {stdout}");
        }
    }
    let Finished { stdout, .. } = run(rallypoint(&["--help"])).await.expect(0);
    for command in ["serve", "token", "demo", "session", "store", "openapi", "config", "check-config"] {
        assert!(stdout.contains(&format!("\n  {command} ")), "{stdout}");
    }
}

#[tokio::test]
async fn unknown_commands_and_flags_are_refused_with_help() {
    for args in [
        &["serve", "--lissen", "127.0.0.1:0"][..],
        &["serve", "--listen", "localhost"],
        &["serve", "--admin-listen", "none"],
        &["token"],
        &["token", "--player", "me"],
        &["token", "--player", "11111111-1111-4111-8111-111111111111", "--data-dir", ""],
        &["token", "--player", "11111111-1111-4111-8111-111111111111", "--ttl", "1y"],
        &["start"],
        &[],
    ] {
        let refused = run(rallypoint(args)).await.expect(2);
        assert_eq!(refused.stdout, "", "{args:?}");
        assert!(refused.stderr.contains("--help"), "{args:?}: {}", refused.stderr);
    }
}

#[tokio::test]
async fn config_prints_a_file_that_check_config_accepts_and_no_secrets() {
    let dir = TempDir::new().unwrap();
    let (given, printed) = (dir.path().join("given.toml"), dir.path().join("printed.toml"));
    let text =
        "[auth]\njwks_url = \"https://me:secret@keys.example/jwks?key=secret\"\n[sessions]\nidle_s = 60\n";
    std::fs::write(&given, text).unwrap();
    let (given, printed) = (given.to_str().unwrap(), printed.to_str().unwrap());

    let mut command = rallypoint(&["config", "--config", given, "--listen", "127.0.0.1:1"]);
    command.env("RALLYPOINT_SESSIONS__IDLE_S", "70").env("RALLYPOINT_HTTP__LISTEN", "127.0.0.1:2");
    let Finished { stdout, stderr, .. } = run(command).await.expect(0);
    assert!(!stdout.contains("secret"), "{stdout}");
    assert!(stdout.contains("https://***@keys.example/jwks?***"), "{stdout}");
    let effective: toml::Table = stdout.parse().unwrap();
    assert_eq!(effective["sessions"]["idle_s"].as_integer(), Some(70), "the environment wins over the file");
    assert_eq!(effective["http"]["listen"].as_str(), Some("127.0.0.1:1"), "a flag wins over the environment");
    assert_eq!(stderr, "");

    std::fs::write(printed, &stdout).unwrap();
    let checked = run(rallypoint(&["check-config", printed])).await.expect(0);
    assert_eq!(checked.stdout, format!("{printed}: OK; 2 templates\n"));
    let again = run(rallypoint(&["config", "--config", printed])).await.expect(0);
    assert_eq!(again.stdout, stdout);
    run(rallypoint(&["check-config", "config.default.toml"])).await.expect(0);
}

#[tokio::test]
async fn check_config_gives_file_line_setting_and_allowed_values() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("mine.toml");
    for (text, line, expected) in [
        ("[http]\nlisen = \"127.0.0.1:1\"\n", "line 2", &["`lisen`", "`listen`"][..]),
        (
            "\n[http]\nlisten = \"localhost\"\n",
            "line 3",
            &["listen = ", "not an ADDRESS:PORT, as in 127.0.0.1:7700"],
        ),
        ("[store]\nbackend = \"redis\"\n", "line 2", &["`redis`", "`embedded`, `memory`, `postgres`"]),
        ("[sessions]\nidle_s = -1\n", "line 2", &["idle_s = -1", "a whole number, 0 or more"]),
        ("[sessions]\nidle_s = 0\n", "line 2", &["idle_s = 0", "from 1 to"]),
        ("[templates.a]\nnum_teams = 51\n", "line 2", &["num_teams = 51", "from 1 to 50"]),
        ("[telemetry\n", "line 1", &["[telemetry", "expected `]`"]),
        (
            "[auth]\njwks_file = \"a\"\njwks_url = \"b\"\n",
            "line 3",
            &["[auth]", "jwks_file or jwks_url, not both"],
        ),
        (
            "[auth]\njwks_url = \"http://keys.example/jwks\"\n",
            "line 2",
            &["[auth] jwks_url", "https://", "http:// is allowed for this machine only"],
        ),
        (
            "[http]\nlisten = \"127.0.0.1:1\"\nadmin_listen = \"127.0.0.1:1\"\n",
            "line 3",
            &["[http]", "both use 127.0.0.1:1", "another port", "\"off\""],
        ),
        (
            "[http]\nlisten = \"0.0.0.0:0\"\n",
            "line 2",
            &["[http]", "0.0.0.0:0", "development key", "jwks_file or jwks_url", "127.0.0.1"],
        ),
        ("[templates.a]\nmin_session_count = -1\n", "line 2", &["min_session_count = -1", "0 or more"]),
    ] {
        std::fs::write(&file, text).unwrap();
        let refused = run(rallypoint(&["check-config", file.to_str().unwrap()])).await.expect(1);
        assert_eq!(refused.stdout, "");
        assert!(refused.stderr.starts_with(&format!("error: {}: ", file.display())), "{}", refused.stderr);
        for part in [&[line], expected].concat() {
            assert!(refused.stderr.contains(part), "{part:?} is not in: {}", refused.stderr);
        }
        // The server prints the same error, and does not start.
        let args = ["serve", "--config", file.to_str().unwrap()];
        assert_eq!(run(rallypoint(&args)).await.expect(1).stderr, refused.stderr);
    }
    std::fs::write(&file, "[http]\nlisten = \"0.0.0.0:0\"\n").unwrap();
    let exposed = ["check-config", file.to_str().unwrap(), "--insecure-expose-development-key"];
    run(rallypoint(&exposed)).await.expect(0);
    let missing = run(rallypoint(&["check-config", "/nowhere/mine.toml"])).await.expect(1);
    assert!(missing.stderr.starts_with("error: /nowhere/mine.toml: No such file"), "{}", missing.stderr);
}

#[tokio::test]
async fn check_config_counts_one_template_in_the_singular() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(&file, "[templates.duel]\n").unwrap();
    let checked = run(rallypoint(&["check-config", file.path().to_str().unwrap()])).await.expect(0);
    assert_eq!(checked.stdout, format!("{}: OK; 1 template\n", file.path().display()));
}

#[tokio::test]
async fn check_config_warns_of_values_that_clients_have_trouble_with() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let text = "[sessions]\nidle_s = 60\n[templates.\"a b\"]\nplayer_culling_timeout = 90\n";
    std::fs::write(&file, text).unwrap();
    let path = file.path().display().to_string();
    let checked = run(rallypoint(&["check-config", &path])).await.expect(0);
    let expected = [
        "[sessions] idle_s = 60:",
        "[templates.\"a b\"] player_culling_timeout = 90:",
        "[templates.\"a b\"] the name",
    ];
    let lines: Vec<_> = checked.stderr.lines().collect();
    assert_eq!(lines.len(), expected.len(), "{lines:?}");
    for (line, expected) in lines.iter().zip(expected) {
        assert!(line.starts_with(&format!("warning: {path}: {expected}")), "{line}");
    }
    assert_eq!(checked.stdout, format!("{path}: OK; 1 template\n"));
}

#[tokio::test]
async fn an_error_names_the_wrong_variable() {
    let mut command = rallypoint(&["config"]);
    command.env("RALLYPOINT_HTTP__LISTEN", "localhost");
    let refused = run(command).await.expect(1);
    let message =
        "error: RALLYPOINT_HTTP__LISTEN: \"localhost\" is not an ADDRESS:PORT, as in 127.0.0.1:7700";
    assert!(refused.stderr.starts_with(message), "{}", refused.stderr);
}

#[tokio::test]
async fn a_flag_can_correct_an_error_of_the_environment() {
    let command = |args: &[&str]| {
        let mut command = rallypoint(&[&["config"], args].concat());
        command.env("RALLYPOINT_HTTP__LISTEN", "127.0.0.1:7701");
        command
    };
    let refused = run(command(&[])).await.expect(1);
    assert!(refused.stderr.starts_with("error: RALLYPOINT_HTTP__LISTEN: [http] listen and"), "{refused:?}");
    run(command(&["--admin-listen", "off"])).await.expect(0);
    let refused = run(command(&["--admin-listen", "0.0.0.0:7701"])).await.expect(1);
    assert!(refused.stderr.starts_with("error: --admin-listen: [http] listen and"), "{refused:?}");
    let mut command = rallypoint(&["config"]);
    command.env("RALLYPOINT_TEMPLATES__PARTY__NUM_TEAMS", "2");
    let refused = run(command).await.expect(1);
    let message = "error: RALLYPOINT_TEMPLATES__PARTY__NUM_TEAMS: [templates] can be set in the";
    assert!(refused.stderr.starts_with(message), "{refused:?}");
}

#[tokio::test]
async fn a_key_that_other_users_can_read_is_refused() {
    let dir = TempDir::new().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let args = ["token", "--player", "11111111-1111-4111-8111-111111111111", "--data-dir", data_dir];
    run(rallypoint(&args)).await.expect(0);
    let key = dir.path().join("development-key");
    std::fs::set_permissions(&key, Permissions::from_mode(0o640)).unwrap();
    for command in [rallypoint(&args), serve(dir.path(), &[])] {
        let refused = run(command).await.expect(1);
        assert_eq!(refused.stdout, "");
        let message =
            format!("error: {}: other users may access this file; run `chmod 600` on it", key.display());
        assert!(refused.stderr.contains(&message), "{}", refused.stderr);
    }
    std::fs::set_permissions(&key, Permissions::from_mode(0o600)).unwrap();
    run(rallypoint(&args)).await.expect(0);
}

#[tokio::test]
async fn the_demo_ignores_a_proxy_in_the_environment() {
    let mut demo = rallypoint(&["demo"]);
    // Nothing listens there, so a request through this proxy would fail.
    demo.env("ALL_PROXY", "http://127.0.0.1:9");
    run(demo).await.expect(0);
}

#[tokio::test]
async fn variables_that_are_not_utf8_are_ignored() {
    let mut config = rallypoint(&["config"]);
    config.env("ODD", OsStr::from_bytes(b"\xff"));
    assert!(run(config).await.expect(0).stdout.starts_with("[http]\n"));
}

#[tokio::test]
async fn logs_have_colours_on_a_terminal_only() {
    let mut serve = rallypoint(&["serve", "--listen", "127.0.0.1:0"]);
    // The server logs a warning, then fails because the keys are missing.
    serve.env("RALLYPOINT_STORE__BACKEND", "memory").env("RALLYPOINT_AUTH__JWKS_FILE", "/nowhere/jwks.json");
    let logged = run(serve).await.expect(1).stderr;
    assert!(logged.contains("WARN") && logged.contains("/nowhere/jwks.json"), "{logged}");
    assert!(!logged.contains('\x1b'), "{logged}");
}

#[tokio::test]
async fn a_server_without_issuer_or_audience_logs_a_warning() {
    let any = ["tokens of any issuer are accepted", "tokens for any audience are accepted"];
    for (set, expected) in
        [(&[][..], [true, true]), (&["ISSUER"], [false, true]), (&["ISSUER", "AUDIENCE"], [false; 2])]
    {
        let mut serve = rallypoint(&["serve", "--listen", "127.0.0.1:0"]);
        // The server fails because the keys are missing.
        serve
            .env("RALLYPOINT_STORE__BACKEND", "memory")
            .env("RALLYPOINT_AUTH__JWKS_FILE", "/nowhere/jwks.json");
        for setting in set {
            serve.env(format!("RALLYPOINT_AUTH__{setting}"), "games");
        }
        let logged = run(serve).await.expect(1).stderr;
        assert_eq!(any.map(|line| logged.contains(line)), expected, "{set:?}: {logged}");
    }
}

#[tokio::test]
async fn token_signs_with_the_key_of_the_configured_directory_and_notes_a_new_key() {
    let dir = TempDir::new().unwrap();
    let (by_env, by_file) = (dir.path().join("by-env"), dir.path().join("by-file"));
    let file = dir.path().join("mine.toml");
    std::fs::write(&file, format!("[store]\ndata_dir = {by_file:?}\n")).unwrap();
    let token = |args: &[&str], env: Option<&Path>| {
        let player = ["token", "--player", "11111111-1111-4111-8111-111111111111"];
        let mut command = rallypoint(&[&player, args].concat());
        if let Some(data_dir) = env {
            command.env("RALLYPOINT_STORE__DATA_DIR", data_dir);
        }
        // The last check of this test is that no other directory was created here.
        command.current_dir(dir.path());
        command
    };
    let file = file.to_str().unwrap();
    for (args, env, data_dir) in
        [(&["--config", file][..], None, &by_file), (&["--config", file], Some(&by_env), &by_env)]
    {
        let key = data_dir.join("development-key");
        assert!(!key.exists());
        let Finished { stderr, .. } = run(token(args, env.map(PathBuf::as_path))).await.expect(0);
        let note = format!(
            "note: created the development key {}; a server with another data directory",
            key.display()
        );
        assert!(stderr.starts_with(&note), "{stderr}");
        let again = run(token(args, env.map(PathBuf::as_path))).await.expect(0);
        assert!(key.exists() && again.stderr.is_empty(), "{}", again.stderr);
    }
    let flag = run(token(&["--data-dir", by_file.to_str().unwrap()], Some(&by_env))).await.expect(0);
    assert_eq!(flag.stderr, "", "a flag wins over the environment");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 3);

    std::fs::write(file, "[auth]\njwks_file = \"jwks.json\"\n").unwrap();
    let rejected = run(token(&["--config", file], Some(&by_env))).await.expect(0);
    assert!(
        rejected.stderr.starts_with("warning: jwks_file or jwks_url is set under [auth]"),
        "{}",
        rejected.stderr
    );
    std::fs::write(file, "[store]\ndata = 1\n").unwrap();
    let wrong = run(token(&["--config", file], None)).await.expect(1);
    assert!(wrong.stderr.starts_with(&format!("error: {file}: ")), "{}", wrong.stderr);
}

#[tokio::test]
async fn a_token_can_be_for_a_service_and_an_unknown_permission_is_a_warning() {
    let dir = TempDir::new().unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let args = ["token", "--data-dir", data_dir, "--permission", "session:reed:any", "--player-id", "7"];
    let Finished { stdout, stderr, .. } = run(rallypoint(&args)).await.expect(0);
    let claims = stdout.split('.').nth(1).unwrap();
    let claims: serde_json::Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).unwrap()).unwrap();
    assert!(claims.get("sub").is_none() && claims["player_id"] == 7, "{claims}");
    assert!(stderr.contains("session:reed:any"), "{stderr}");
}
