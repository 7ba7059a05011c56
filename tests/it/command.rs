//! The command as its users run it: a process, with arguments, an environment and what it prints.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::process::Command;

/// Runs the command to its end, in an environment of nothing but these variables: whether it succeeded, and
/// what it wrote to standard output and standard error.
fn run(args: &[&str], env: &[(&str, &OsStr)]) -> (bool, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rallypoint"));
    let output = command.args(args).env_clear().envs(env.iter().copied()).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (output.status.success(), text(output.stdout), text(output.stderr))
}

#[test]
fn the_demo_is_right_whatever_proxy_the_environment_names() {
    // Nobody listens there: a request by way of this proxy would fail.
    let proxy = OsStr::new("http://127.0.0.1:9");
    let (succeeded, shown, errors) = run(&["demo"], &[("ALL_PROXY", proxy)]);
    assert!(succeeded && shown.ends_with("\nEvery answer was right.\n"), "{shown}{errors}");
}

#[test]
fn variables_that_are_no_text_are_passed_over() {
    let (succeeded, shown, errors) = run(&["config"], &[("ODD", OsStr::from_bytes(b"\xff"))]);
    assert!(succeeded && shown.starts_with("[http]\n"), "{shown}{errors}");
}

#[test]
fn the_configuration_that_is_shown_is_one_that_is_taken() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("shown.toml");
    let idle = [("RALLYPOINT_SESSIONS__IDLE_S", OsStr::new("600"))];
    let (_, shown, _) = run(&["config", "--listen", "127.0.0.1:0"], &idle);
    assert!(shown.contains("idle_s = 600\n") && shown.contains("listen = \"127.0.0.1:0\"\n"), "{shown}");
    std::fs::write(&file, &shown).unwrap();
    let file = file.to_str().unwrap();
    let (succeeded, ..) = run(&["check-config", file], &[]);
    assert!(succeeded);
    assert_eq!(run(&["config", "--config", file], &[]).1, shown);
}

#[test]
fn logs_that_no_terminal_shows_have_no_colours() {
    let settings = [
        ("RALLYPOINT_STORE__BACKEND", OsStr::new("memory")),
        // Says so in the log, then stops for want of keys.
        ("RALLYPOINT_AUTH__JWKS_FILE", OsStr::new("/nowhere/jwks.json")),
    ];
    let (succeeded, _, logged) = run(&["serve", "--listen", "127.0.0.1:0"], &settings);
    assert!(!succeeded && logged.contains("WARN") && logged.contains("/nowhere/jwks.json"), "{logged}");
    assert!(!logged.contains('\x1b'), "{logged}");
}
