//! TLS and passwords of connections to the database.

use std::path::{Path, PathBuf};
use std::time::Duration;

use rallypoint::config::PostgresSection;
use rallypoint::runtime::settings::postgres_settings;
use rallypoint::store::{Backend as _, Batch, Postgres, StoreError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::support::postgres::Database;
use crate::support::process::soon;

fn file(name: &str) -> Option<PathBuf> {
    Some(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/tls").join(name))
}

/// What an operator writes who trusts the server's authority.
fn trusting(url: &str) -> PostgresSection {
    PostgresSection { url: Some(url.to_owned()), ca_file: file("ca.pem"), ..PostgresSection::default() }
}

async fn open(written: &PostgresSection) -> Result<Postgres, StoreError> {
    Postgres::open(postgres_settings(written).unwrap()).await
}

/// Why opening failed; an open store has no `Debug`.
async fn refused(written: &PostgresSection) -> String {
    open(written).await.err().expect("the store does not open").to_string()
}

#[tokio::test]
async fn with_mutual_tls_all_connections_are_encrypted() {
    let (database, url) = Database::new_with_tls().await;
    for mode in ["require", "prefer"] {
        let written = PostgresSection {
            certificate_file: file("client.pem"),
            key_file: file("client.key"),
            ..trusting(&format!("{url}&sslmode={mode}"))
        };
        let store = open(&written).await.unwrap();
        store.commit(Batch::default().put("key", "value")).await.unwrap();
        let (encrypted, open) = database.encrypted().await;
        assert!(encrypted > 0 && open == 0, "{mode}: {encrypted} {open}");
    }
}

#[tokio::test]
async fn a_server_that_requires_a_client_certificate_refuses_connections_without_one() {
    let (_database, url) = Database::new_with_tls().await;
    let message = refused(&trusting(&format!("{url}&sslmode=require"))).await;
    assert!(message.contains("connection requires a valid client certificate"), "{message}");
}

#[tokio::test]
async fn a_server_with_an_untrusted_certificate_is_refused() {
    let (_database, url) = Database::new_with_tls().await;
    let stranger = PostgresSection { ca_file: None, ..trusting(&url) };
    let elsewhere = trusting(&format!("{}&hostaddr=127.0.0.1", url.replace("localhost", "db.example.com")));
    for written in [stranger, elsewhere] {
        let message = refused(&written).await;
        assert!(message.starts_with("the store failed: cannot use the database "), "{message}");
        assert!(
            message.contains("set [postgres] ca_file to the certificate authority of the server"),
            "{message}"
        );
    }
}

#[tokio::test]
async fn with_a_ca_file_nothing_is_sent_to_a_server_without_tls() {
    let stranger = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("postgresql://me@{}/games", stranger.local_addr().unwrap());
    let (without, with) = (PostgresSection { ca_file: None, ..trusting(&url) }, trusting(&url));
    for (written, continues) in [(without, true), (with, false)] {
        let opening = tokio::spawn(async move { refused(&written).await });
        let (mut client, _) = soon("the client connects", stranger.accept()).await.unwrap();
        let mut tls_request = [0; 8];
        client.read_exact(&mut tls_request).await.unwrap();
        client.write_all(b"N").await.unwrap();
        let received = soon("the client continues or disconnects", client.read(&mut [0; 8])).await.unwrap();
        assert_eq!(received > 0, continues);
        drop(client);
        soon("opening fails", opening).await.unwrap();
    }
}

#[tokio::test]
async fn with_sslmode_disable_connections_are_not_encrypted() {
    let (database, url) = Database::new_with_tls().await;
    let store = open(&trusting(&format!("{url}&sslmode=disable"))).await.unwrap();
    store.commit(Batch::default().put("key", "value")).await.unwrap();
    let (encrypted, open) = database.encrypted().await;
    assert!(encrypted == 0 && open > 0, "{encrypted} {open}");
}

#[test]
fn errors_name_the_file_that_cannot_be_used() {
    let written = trusting("postgresql://me@localhost/games");
    for (name, ca_file) in [("absent.pem", "No such file"), ("client.key", "holds no certificate")] {
        let wrong = PostgresSection { ca_file: file(name), ..written.clone() };
        let message = postgres_settings(&wrong).unwrap_err();
        assert!(message.starts_with("[postgres] ca_file ") && message.contains(ca_file), "{message}");
    }
    let wrong =
        PostgresSection { certificate_file: file("client.pem"), key_file: file("server.key"), ..written };
    let message = postgres_settings(&wrong).unwrap_err();
    assert!(message.starts_with("[postgres] certificate_file "), "{message}");
}

#[tokio::test]
async fn a_wrong_password_is_reported() {
    const ADVICE: &str = "check the user in [postgres] url, and password or password_file";
    let (database, _) = Database::new_with_tls().await;
    let client = database.client().await;
    client.batch_execute("CREATE ROLE keeper LOGIN SUPERUSER PASSWORD 'right'").await.unwrap();
    let with = |password: &str| {
        let mut settings = database.as_user("keeper").settings();
        settings.retry_deadline = Duration::ZERO;
        settings.address.password(password);
        settings
    };
    for wrong in ["wrong", ""] {
        let refused = Postgres::open(with(wrong)).await.err().expect("the store does not open").to_string();
        assert!(refused.contains(ADVICE) && !refused.contains("right"), "{refused}");
    }
    let store = Postgres::open(with("right")).await.unwrap();
    store.commit(Batch::default().put("key", "value")).await.unwrap();

    client.batch_execute("ALTER ROLE keeper PASSWORD 'another'").await.unwrap();
    let refused = async {
        loop {
            database.cut(&client).await;
            if let Err(error) = store.get(b"key").await
                && error.to_string().contains(ADVICE)
            {
                break;
            }
        }
    };
    soon("a running server reports it", refused).await;
    client.batch_execute("ALTER ROLE keeper PASSWORD 'right'").await.unwrap();
    soon("the server recovers", async { while store.get(b"key").await.is_err() {} }).await;
}
