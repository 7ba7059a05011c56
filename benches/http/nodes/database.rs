//! Fills the database, and reads its statistics.

use std::ops::Range;

use futures_util::pin_mut;
use rallypoint::config::PostgresSection;
use rallypoint::runtime::settings::postgres_settings;
use rallypoint::store::Postgres;
use tokio_postgres::Client;
use tokio_postgres::binary_copy::BinaryCopyInWriter;
use tokio_postgres::types::Type;

use crate::sessions::{Kind, Sessions, Which};
use crate::support::Rng;
use crate::support::postgres::Cluster;

/// Sessions for each statement while filling.
const STORED_AT_ONCE: u64 = 5_000;

/// Creates a database with the tables of a server.
pub async fn create(cluster: &Cluster, name: &str) {
    cluster.create(name, None).await;
    let settings = PostgresSection { url: Some(cluster.url(name)), ..Default::default() };
    Postgres::open(postgres_settings(&settings).unwrap()).await.unwrap().close().await;
}

/// Stores sessions with the same deadline: the rows that a server writes, with COPY.
pub async fn fill(cluster: &Cluster, name: &str, numbers: Range<u64>, deadline_ms: i64) {
    let client = cluster.client(name).await;
    let sessions = Sessions::new();
    let mut versions = Rng(numbers.start);
    for start in numbers.clone().step_by(STORED_AT_ONCE as usize) {
        let copy = "COPY rallypoint_entries (key, value, version) FROM STDIN (FORMAT binary)";
        let sink = client.copy_in(copy).await.unwrap();
        let rows = BinaryCopyInWriter::new(sink, &[Type::BYTEA, Type::BYTEA, Type::INT8]);
        pin_mut!(rows);
        for number in start..numbers.end.min(start + STORED_AT_ONCE) {
            let batch = sessions.batch(Which { kind: Kind::Game, number }, deadline_ms);
            let version = (versions.next_u31() << 31 | versions.next_u31()) as i64;
            for (key, value) in &batch.put {
                rows.as_mut().write(&[key, &value.as_ref(), &version]).await.unwrap();
            }
        }
        rows.finish().await.unwrap();
    }
}

/// Vacuums and makes a checkpoint now, so that the database does not do so during a measurement.
pub async fn vacuum_and_checkpoint(cluster: &Cluster, name: &str) {
    let client = cluster.client(name).await;
    for work in ["VACUUM (ANALYZE) rallypoint_entries", "CHECKPOINT"] {
        client.batch_execute(work).await.unwrap();
    }
}

/// Size of the table on disk.
pub struct OnDisk {
    pub rows: i64,
    pub table_bytes: i64,
    pub index_bytes: i64,
}

impl OnDisk {
    pub async fn of(cluster: &Cluster, name: &str) -> Self {
        let row = cluster
            .client(name)
            .await
            .query_one(
                "SELECT count(*), pg_table_size('rallypoint_entries'), pg_indexes_size('rallypoint_entries')
                FROM rallypoint_entries",
                &[],
            )
            .await
            .unwrap();
        Self { rows: row.get(0), table_bytes: row.get(1), index_bytes: row.get(2) }
    }
}

/// Statistics of the write-ahead log.
#[derive(Clone, Copy)]
pub struct Log {
    pub bytes: f64,
    /// Number of syncs; NaN before PostgreSQL 14.
    pub syncs: f64,
}

impl Log {
    /// The statistics that the processes have reported so far. Each reports about once a second.
    pub async fn of(client: &Client) -> Self {
        let bytes = client
            .query_one("SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::float8", &[])
            .await
            .unwrap();
        let syncs = client.query_one("SELECT wal_sync::float8 FROM pg_stat_wal", &[]).await;
        Self { bytes: bytes.get(0), syncs: syncs.map_or(f64::NAN, |row| row.get(0)) }
    }
}

/// The version and the settings that differ from the defaults.
pub async fn description(cluster: &Cluster) -> String {
    let client = cluster.client("postgres").await;
    let version: String = client.query_one("SHOW server_version", &[]).await.unwrap().get(0);
    let mut settings = Vec::new();
    for name in ["fsync", "synchronous_commit", "full_page_writes", "shared_buffers", "max_wal_size"] {
        let value: String = client.query_one(&format!("SHOW {name}"), &[]).await.unwrap().get(0);
        settings.push(format!("{name} = {value}"));
    }
    format!("PostgreSQL {version}, {}", settings.join(", "))
}
