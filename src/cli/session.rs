//! `rallypoint session`: lists, shows and ends sessions of a running server, through its API.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use http::StatusCode;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};
use ureq::tls::TlsConfig;
use uuid::Uuid;

use super::config::KeyArgs;
use super::http_client::{HttpAnswer, HttpClient};
use super::{parse_uuid, print, print_json};
use crate::api::PREFIX;
use crate::auth::{DevelopmentKey, Grant};
use crate::config::Config;
use crate::env::Clock;
use crate::https;

/// Text after `rallypoint session --help`.
pub const HELP: &str = "\
The command calls the API of a running server. Give it a token in RALLYPOINT_TOKEN. Without one, it signs a token with \
the development key in the data directory, valid for a minute, with all permissions.

Permissions of the token: session:read:browser to list sessions in the browser, and session:read:config to list those \
of every type; session:read-player:any to list a player's sessions; session:read:any to see all of a session; \
session:delete:any to end one.

  rallypoint session list
  rallypoint session list --player 11111111-1111-4111-8111-111111111111
  rallypoint session show 4FJ7KQ
  rallypoint session end 0b8d6e0c-6a3e-4c9e-9d0e-3f2a1b5c7d9e";

/// Text after `rallypoint session list --help`.
const LIST_HELP: &str = "\
Without --player, the command lists the sessions in the browser, and only those: sessions that their leader has listed \
there, and sessions of types that are listed automatically. It lists the first 10,000 of each type. The API has no list of \
all sessions.

  rallypoint session list --type game
  rallypoint session list --player 11111111-1111-4111-8111-111111111111 --json

Next: show one with `rallypoint session show`.";

/// Text after `rallypoint session show --help`.
const SHOW_HELP: &str = "\
Reading a session with this command does not extend its life.

  rallypoint session show 4FJ7KQ
  rallypoint session show 0b8d6e0c-6a3e-4c9e-9d0e-3f2a1b5c7d9e --json";

/// Text after `rallypoint session end --help`.
const END_HELP: &str = "\
The session ends for all its players at once. This cannot be undone.

  rallypoint session end 4FJ7KQ";

/// Most pages of the browser that are read for each type. A page has 50 sessions.
const PAGES_MAX: usize = 200;

/// Lifetime of the token that the command signs itself.
const OWN_TOKEN_TTL: Duration = Duration::from_secs(60);

#[derive(Args)]
pub struct SessionArgs {
    #[command(subcommand)]
    command: SessionCommand,
    /// URL of the server, with or without /session at the end [default: the address in the configuration, or
    /// http://127.0.0.1:7700].
    #[arg(long, value_name = "URL", value_parser = parse_server, global = true)]
    server: Option<String>,
    /// Certificate authorities (PEM) to trust at https:// instead of those of the system [default: the system's store,
    /// or SSL_CERT_FILE].
    #[arg(long, value_name = "FILE", global = true)]
    ca_file: Option<PathBuf>,
    /// Token. Prefer the environment variable: other users of the machine can see flags.
    #[arg(long, value_name = "TOKEN", env = "RALLYPOINT_TOKEN", hide_env_values = true, global = true)]
    token: Option<String>,
    #[command(flatten)]
    key: KeyArgs,
    /// Print JSON instead of a table.
    #[arg(long, global = true)]
    json: bool,
}

/// Parses the URL of a server. The error shows the format.
pub fn parse_server(text: &str) -> Result<String, String> {
    let server = text.trim_end_matches('/');
    let server = server.strip_suffix(PREFIX).unwrap_or(server);
    let is_server = |uri: &http::Uri| {
        let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
        is_web && uri.query().is_none() && !https::has_user(uri)
    };
    match https::parse(server).filter(is_server) {
        Some(_) => Ok(server.to_owned()),
        None => Err("this takes the URL of a server, as in http://127.0.0.1:7700".into()),
    }
}

#[derive(Subcommand)]
enum SessionCommand {
    /// List the sessions in the browser, or the sessions of a player.
    #[command(after_help = LIST_HELP)]
    List {
        /// Player whose sessions to list, in the browser or not.
        #[arg(long, value_name = "UUID", value_parser = parse_uuid)]
        player: Option<Uuid>,
        /// Type of session [default: every type that the server has].
        #[arg(long = "type", value_name = "TYPE", conflicts_with = "player")]
        session_type: Option<String>,
    },
    /// Show a session.
    #[command(after_help = SHOW_HELP)]
    Show {
        /// Id or short code of the session.
        session: String,
    },
    /// End a session.
    #[command(after_help = END_HELP)]
    End {
        /// Id or short code of the session.
        session: String,
    },
}

/// Runs the command.
pub fn run(args: &SessionArgs) -> Result<(), String> {
    let server = match &args.server {
        Some(server) => server.clone(),
        None => configured_server(&args.key.load()?)?,
    };
    // An empty variable counts as not set.
    let token = match args.token.as_deref().filter(|token| !token.is_empty()) {
        Some(token) => token.to_owned(),
        None => own_token(&args.key.data_dir()?)?,
    };
    let tls = match &args.ca_file {
        None if !https::is_https(&server) => TlsConfig::default(),
        Some(_) if !https::is_https(&server) => {
            return Err(format!("--ca-file needs a server at https://, and this one is {server}"));
        }
        Some(ca_file) => https::trust(Some(ca_file)).map_err(|error| format!("--ca-file {error}"))?,
        None => https::trust(None)?,
    };
    let client = ServerClient { http: HttpClient::new(&server, tls), token };
    match &args.command {
        SessionCommand::List { player: Some(player), .. } => {
            let list = client.get(&format!("/v1/player/{player}/session"))?;
            show(args.json, &list, player_rows)
        }
        SessionCommand::List { session_type, .. } => {
            let types = match session_type {
                Some(session_type) => vec![session_type.clone()],
                None => client.types()?,
            };
            let listed = types.iter().map(|session_type| client.browse(session_type));
            let listed = listed.collect::<Result<Vec<_>, _>>()?.concat();
            if listed.is_empty() {
                client.explain_empty_browser(session_type.as_deref())?;
            }
            show(args.json, &json!(listed), listed_rows)
        }
        SessionCommand::Show { session } => {
            let session = client.get(&format!("/v1/session/{}?refresh_ttl=false", encoded(session)))?;
            show(args.json, &session, session_rows)
        }
        SessionCommand::End { session } => {
            client.call("DELETE", &format!("/v1/session/{}", encoded(session)))?;
            if args.json {
                print_json(&json!({ "ended": session }))
            } else {
                print(&format!("{session} has ended\n"))
            }
        }
    }
}

/// The URL of the server with this configuration.
fn configured_server(config: &Config) -> Result<String, String> {
    let mut address = config.http.listen;
    if address.port() == 0 {
        let message =
            "[http] listen takes a free port: name the server with --server, as in http://127.0.0.1:7700";
        return Err(message.into());
    }
    // A server that listens on all addresses is reached on loopback.
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => address.set_ip(Ipv4Addr::LOCALHOST.into()),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => address.set_ip(Ipv6Addr::LOCALHOST.into()),
        _ => {}
    }
    Ok(format!("http://{address}"))
}

fn own_token(data_dir: &Path) -> Result<String, String> {
    let key = DevelopmentKey::load(data_dir)
        .map_err(|error| format!("{error}; give a token in RALLYPOINT_TOKEN, or the server's --data-dir"))?;
    let grant = Grant {
        player: None,
        permissions: vec!["session:*".into()],
        platform: None,
        player_id: None,
        ttl: OWN_TOKEN_TTL,
    };
    Ok(key.sign(&grant, Clock::System.now()))
}

/// A client of one server, with its token.
struct ServerClient {
    http: HttpClient,
    token: String,
}

impl ServerClient {
    fn call(&self, method: &str, path: &str) -> Result<HttpAnswer, String> {
        let answer = self.http.send(method, path, &self.token, None, None)?;
        let has_body_of_api = answer.text.is_empty() || answer.body.is_object();
        if answer.status.is_success() && has_body_of_api {
            return Ok(answer);
        }
        let why = failure(&answer.body).unwrap_or_else(|| {
            let base = self.http.base();
            format!("{base} does not answer like the API; is it the admin listener, or something else?")
        });
        let hint = match answer.status {
            StatusCode::FORBIDDEN => "; `rallypoint session --help` says which token the command needs",
            _ => "",
        };
        Err(format!("{}: {why}{hint}", answer.status))
    }

    fn get(&self, path: &str) -> Result<Value, String> {
        self.call("GET", path).map(|answer| answer.body)
    }

    /// The types of sessions that the server has templates for.
    fn types(&self) -> Result<Vec<String>, String> {
        let answer = self.get("/v1/template")?;
        Ok(answer["templates"].as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect())
    }

    /// Explains an empty list on standard error. An unknown type is an error.
    fn explain_empty_browser(&self, session_type: Option<&str>) -> Result<(), String> {
        // A token may lack the permission to read the types; then the type is not checked.
        if let Some(session_type) = session_type
            && let Ok(types) = self.types()
            && !types.iter().any(|name| name == session_type)
        {
            return Err(format!("the server has no type {session_type:?}; it has {}", types.join(", ")));
        }
        eprintln!(
            "note: no session is in the browser; to find other sessions, list those of a player with --player UUID, or \
             show one by its id or short code with `rallypoint session show`"
        );
        Ok(())
    }

    /// The sessions of a type in the browser, each with its type.
    fn browse(&self, session_type: &str) -> Result<Vec<Value>, String> {
        let page =
            |cursor| self.get(&format!("/v1/browser?session_type={}&cursor={cursor}", encoded(session_type)));
        let (mut listed, more) = all_pages(page)?;
        if more {
            eprintln!(
                "warning: there are more sessions of type {session_type}; the list has the first ones only"
            );
        }
        for session in &mut listed {
            session["type"] = session_type.into();
        }
        Ok(listed)
    }
}

/// The message of an error of the API, or `None` if the body is not one.
fn failure(body: &Value) -> Option<String> {
    if let Some(violations) = body["detail"].as_array() {
        let describe = |violation: &Value| {
            let steps: Vec<_> = items(&violation["loc"]).map(text).collect();
            format!("{}: {}", steps.join("."), text(&violation["msg"]))
        };
        return Some(violations.iter().map(describe).collect::<Vec<_>>().join("; "));
    }
    let [desc, code] = ["desc", "error_code"].map(|field| body[field].as_str());
    Some(format!("{} ({})", text(&desc?.into()), text(&code?.into())))
}

/// Reads pages of the browser, at most [`PAGES_MAX`]. Returns their sessions, and whether there are more.
fn all_pages(mut page: impl FnMut(u64) -> Result<Value, String>) -> Result<(Vec<Value>, bool), String> {
    let (mut listed, mut cursor) = (Vec::new(), 0);
    for _ in 0..PAGES_MAX {
        let mut page = page(cursor)?;
        listed.append(page["browser_sessions"].as_array_mut().unwrap_or(&mut Vec::new()));
        cursor = page["cursor"].as_u64().unwrap_or(0);
        if cursor == 0 {
            break;
        }
    }
    Ok((listed, cursor != 0))
}

fn encoded(text: &str) -> String {
    utf8_percent_encode(text, NON_ALPHANUMERIC).to_string()
}

fn show(as_json: bool, value: &Value, rows: fn(&Value) -> Vec<Vec<String>>) -> Result<(), String> {
    if as_json { print_json(value) } else { print(&table(&rows(value))) }
}

fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        // Text from clients may contain control sequences for the terminal.
        Value::String(text) => text.replace(char::is_control, "\u{fffd}"),
        other => other.to_string(),
    }
}

fn row<const N: usize>(cells: [&str; N]) -> Vec<String> {
    cells.map(str::to_owned).to_vec()
}

fn items(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

fn player_rows(list: &Value) -> Vec<Vec<String>> {
    let mut rows = vec![row(["SESSION", "TYPE", "STATUS"])];
    for (session_type, of_type) in list["sessions"].as_object().into_iter().flatten() {
        let invites = of_type["pending_invites"].as_object().into_iter().flatten();
        let active = items(&of_type["session_ids"]).map(|id| (text(id), "active"));
        let reserved = items(&of_type["reserved_sessions"]).map(|id| (text(id), "reserved"));
        let invited = invites.map(|(id, _)| (id.clone(), "invited"));
        rows.extend(
            active.chain(invited).chain(reserved).map(|(id, status)| row([&id, session_type, status])),
        );
    }
    rows
}

fn listed_rows(listed: &Value) -> Vec<Vec<String>> {
    let row_of = |session: &Value| {
        let players = format!("{}/{}", session["player_count"], session["max_player_count"]);
        let [id, session_type, health] =
            ["session_id", "type", "instance_health"].map(|field| text(&session[field]));
        row([&id, &session_type, &players, &health])
    };
    let mut rows = vec![row(["SESSION", "TYPE", "PLAYERS", "HEALTH"])];
    rows.extend(items(listed).map(row_of));
    rows
}

fn session_rows(session: &Value) -> Vec<Vec<String>> {
    let joinability = &session["joinability"];
    let join_paths = ["open", "friends", "platform"].into_iter().filter(|path| joinability[*path] == true);
    let mut rows = vec![
        row(["session", &text(&session["session_id"])]),
        row(["type", &text(&session["type"])]),
        row(["created", &text(&session["created"])]),
        row(["region", &text(&session["region_id"])]),
        row(["short code", &text(&session["short_code"])]),
        row(["joinability", &join_paths.collect::<Vec<_>>().join(", ")]),
    ];
    let instance = &session["instance"];
    let state = ["host_type", "join_status", "instance_health"].map(|field| text(&instance[field]));
    let state: Vec<_> = state.into_iter().filter(|word| !word.is_empty()).collect();
    rows.push(row(["instance", &state.join(", ")]));
    rows.push(row(["host", &text(&instance["host_player_uuid"])]));
    rows.push(row(["connect to", &text(&instance["join_params"]["public_conn_str"])]));
    for linked in items(&session["platform_session"]) {
        let named = text(&linked["platform_session_id_base64"]);
        rows.push(row(["linked", &format!("{} {named}", text(&linked["platform"]))]));
    }
    for team in items(&session["teams"]) {
        for player in items(&team["players"]) {
            let seat = format!("team {}: {}", team["team_id"], text(&player["status"]));
            rows.push(row([&seat, &text(&player["player_uuid"])]));
        }
    }
    // Leave out lines without a value.
    rows.retain(|row| !row[1].is_empty());
    rows
}

/// Formats rows as a table. Each column is as wide as its widest cell.
fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widest =
        |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<_> = (0..columns).map(|column| widest(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up() {
        let rows = [row(["A", "BB"]), row(["cccc", "d"]), row(["é", ""])];
        assert_eq!(table(&rows), "A     BB\ncccc  d\né\n");
    }

    #[test]
    fn each_session_of_a_player_has_a_row() {
        let list = json!({"sessions": {"party": {
            "session_ids": ["a"], "pending_invites": {"b": {"session_id": "b"}}, "reserved_sessions": ["c"],
        }}});
        let shown = table(&player_rows(&list));
        assert_eq!(
            shown,
            "SESSION  TYPE   STATUS\na        party  active\nb        party  invited\nc        party  reserved\n"
        );
    }

    #[test]
    fn pages_are_read_to_the_last_one_or_to_the_limit() {
        let page = |cursor: u64, next: u64| json!({"browser_sessions": [cursor], "cursor": next});
        let three = all_pages(|cursor| Ok(page(cursor, (cursor + 1) % 3)));
        assert_eq!(three, Ok((vec![json!(0), json!(1), json!(2)], false)));
        let (listed, more) = all_pages(|cursor| Ok(page(cursor, cursor + 1))).unwrap();
        assert_eq!((listed.len(), more), (PAGES_MAX, true));
        let broken = all_pages(|cursor| if cursor == 0 { Ok(page(0, 1)) } else { Err("gone".into()) });
        assert_eq!(broken, Err("gone".into()));
    }

    #[test]
    fn errors_of_the_api_become_messages() {
        let wrong = json!({"detail": [
            {"loc": ["query", "cursor"], "msg": "value is not a valid integer", "type": "type_error.integer"},
            {"loc": ["body", "maps", 1], "msg": "field required", "type": "value_error.missing"},
        ]});
        let expected = "query.cursor: value is not a valid integer; body.maps.1: field required";
        assert_eq!(failure(&wrong).unwrap(), expected);
        let gone = json!({"auth_success": true, "error_code": "session_not_found", "desc": "it is gone"});
        assert_eq!(failure(&gone).unwrap(), "it is gone (session_not_found)");
        for foreign in [Value::Null, json!({"error": "no"}), json!({"detail": "Not Found"}), json!([1])] {
            assert_eq!(failure(&foreign), None);
        }
    }

    #[test]
    fn the_default_server_is_the_configured_address() {
        let listens = |listen: &str| {
            let text = format!("[http]\nlisten = {listen:?}");
            configured_server(&Config::parse(&text, "my.toml", &[]).unwrap())
        };
        for (listen, url) in [
            ("127.0.0.1:8800", "http://127.0.0.1:8800"),
            ("10.0.0.5:8800", "http://10.0.0.5:8800"),
            ("0.0.0.0:8800", "http://127.0.0.1:8800"),
            ("[::]:8800", "http://[::1]:8800"),
        ] {
            assert_eq!(listens(listen).unwrap(), url);
        }
        assert!(listens("127.0.0.1:0").unwrap_err().contains("--server"));
    }

    #[test]
    fn a_server_url_may_have_the_prefix() {
        for text in ["http://127.0.0.1:7700", "http://127.0.0.1:7700/", "http://127.0.0.1:7700/session/"] {
            assert_eq!(parse_server(text).unwrap(), "http://127.0.0.1:7700");
        }
        assert_eq!(parse_server("https://games.example/eu/session").unwrap(), "https://games.example/eu");
        for text in [
            "",
            "127.0.0.1:7700",
            "localhost",
            "ftp://127.0.0.1",
            "http://",
            "http:///session",
            "http://a?b",
            "http://:7700",
            "http://u@a",
        ] {
            assert!(parse_server(text).unwrap_err().contains("as in http://127.0.0.1:7700"), "{text}");
        }
    }

    #[test]
    fn control_characters_are_replaced() {
        assert_eq!(text(&serde_json::json!("a\u{1b}[31mb\u{7}\n")), "a\u{fffd}[31mb\u{fffd}\u{fffd}");
        assert_eq!(text(&serde_json::json!("größer")), "größer");
    }
}
