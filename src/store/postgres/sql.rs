//! The SQL statements, prepared once on each connection. They use only SQL that PostgreSQL, YugabyteDB and CockroachDB
//! have in common.

use tokio_postgres::{Client, Error, Statement};

/// Planner settings: the server plans each statement once, and uses the index even while the table is small and has no
/// statistics. A server that does not know a setting ignores it here.
const PLANNER_SETTINGS: [&str; 3] =
    ["SET plan_cache_mode = force_generic_plan", "SET enable_seqscan = off", "SET jit = off"];

/// Applies a commit if its expectations hold; see [`commit`](super::commit).
///
/// Parameters: `$1` expected keys, `$2` their versions, `$3` every key of the commit, `$4` keys to put, `$5` their
/// values, `$6` keys that are expected to be absent, `$7` keys to delete, `$8` the version of the commit.
///
/// Columns: whether the commit was applied before, the ordinal (from 1) of the first expectation that does not hold,
/// whether every key to delete is locked. The statement fails with a division by zero if a key exists that was absent
/// when the statement began.
const APPLY: &str = "
WITH expected AS MATERIALIZED (
    SELECT key, version, ordinal
    FROM unnest($1::bytea[], $2::bigint[]) WITH ORDINALITY AS expected (key, version, ordinal)
), locked AS MATERIALIZED (
    SELECT key, nullif(version, 0) AS version
    FROM rallypoint_entries WHERE key = ANY ($3::bytea[]) ORDER BY key FOR UPDATE
), checked AS MATERIALIZED (
    SELECT
        (SELECT count(*) FROM locked WHERE version = $8::bigint) > 0 AS applied,
        (SELECT min(ordinal) FROM expected LEFT JOIN locked USING (key)
            WHERE locked.version IS DISTINCT FROM expected.version) AS failed,
        (SELECT count(*) FROM locked WHERE key = ANY ($7::bytea[])) = cardinality($7::bytea[]) AS all_locked
), put AS (
    INSERT INTO rallypoint_entries (key, value, version)
    SELECT new.key, new.value, $8::bigint
    FROM unnest($4::bytea[], $5::bytea[]) AS new (key, value), checked
    WHERE checked.failed IS NULL AND checked.all_locked
    ORDER BY new.key
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version
    WHERE rallypoint_entries.version = 0 OR rallypoint_entries.key <> ALL ($6::bytea[])
    RETURNING key
), deleted AS (
    DELETE FROM rallypoint_entries USING checked
    WHERE key = ANY ($7::bytea[]) AND checked.failed IS NULL AND checked.all_locked
)
SELECT applied, failed, all_locked,
    1 / (failed IS NOT NULL OR NOT all_locked OR (SELECT count(*) FROM put) = cardinality($4::bytea[]))::int
FROM checked";

/// Locks keys in key order, whether they exist or not. An absent key gets a placeholder with version 0, which the same
/// transaction deletes again, so that no other transaction sees it. Parameters: `$1` the keys.
const LOCK: &str = "
INSERT INTO rallypoint_entries (key, value, version)
SELECT key, '', 0 FROM unnest($1::bytea[]) AS touched (key) ORDER BY key
ON CONFLICT (key) DO UPDATE SET version = rallypoint_entries.version WHERE rallypoint_entries.version < 0";

/// Deletes the placeholders. Parameters: `$1` the keys.
const UNLOCK: &str = "DELETE FROM rallypoint_entries WHERE key = ANY ($1::bytea[]) AND version = 0";

/// Inserts a placeholder with a value, which the same transaction deletes again. Parameters: `$1` the key, `$2` the
/// value.
const PROBE: &str = "INSERT INTO rallypoint_entries (key, value, version) VALUES ($1::bytea, $2::bytea, 0)";

/// Reads values that do not have the known version. Parameters: `$1` keys, `$2` their known versions or null. Columns:
/// the ordinal of a key (from 1), and its version and value, both null if it is absent. A key that has the known
/// version has no row, so that a poll of an unchanged value transfers nothing.
const READ: &str = "
SELECT known.ordinal, entry.version, entry.value
FROM unnest($1::bytea[], $2::bigint[]) WITH ORDINALITY AS known (key, version, ordinal)
LEFT JOIN rallypoint_entries AS entry ON entry.key = known.key
WHERE entry.version IS DISTINCT FROM known.version";

/// Reads ranges. Parameters: `$1` first keys (included), `$2` end keys (excluded), `$3` the limit of each range.
/// Columns: the ordinal of a range (from 1), and the key, version and value of an entry, in key order.
const SCAN: &str = "
SELECT range.ordinal, entry.key, entry.version, entry.value
FROM unnest($1::bytea[], $2::bytea[]) WITH ORDINALITY AS range (first, beyond, ordinal), LATERAL (
    SELECT key, version, value FROM rallypoint_entries
    WHERE key >= range.first AND key < range.beyond ORDER BY key LIMIT $3::bigint
) AS entry
ORDER BY range.ordinal, entry.key";

/// Reads a range without an end. Parameters: `$1` the first key, `$2` the limit.
const SCAN_TO_END: &str = "
SELECT key, version, value FROM rallypoint_entries WHERE key >= $1::bytea ORDER BY key LIMIT $2::bigint";

/// Reads a page: entries from a key on, up to and including the one that reaches the byte limit. Parameters: `$1` the
/// first key, `$2` the most entries, `$3` the byte limit of keys and values.
const PAGE: &str = "
SELECT key, version, value FROM (
    SELECT key, version, value, sum(octet_length(key) + octet_length(value)) OVER (ORDER BY key) AS bytes
    FROM (
        SELECT key, version, value FROM rallypoint_entries WHERE key >= $1::bytea ORDER BY key LIMIT $2::bigint
    ) AS first
) AS summed
WHERE bytes - octet_length(key) - octet_length(value) < $3::bigint ORDER BY key";

/// Reads the database's clock, in milliseconds since the Unix epoch.
const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// The prepared statements of one connection.
pub(super) struct Statements {
    pub(super) apply: Statement,
    pub(super) lock: Statement,
    pub(super) unlock: Statement,
    pub(super) probe: Statement,
    pub(super) read: Statement,
    pub(super) scan: Statement,
    pub(super) scan_to_end: Statement,
    pub(super) page: Statement,
    pub(super) clock: Statement,
}

impl Statements {
    /// Applies the planner settings to a new connection and prepares its statements.
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        for setting in PLANNER_SETTINGS {
            match client.batch_execute(setting).await {
                Err(error) if error.as_db_error().is_none() => return Err(error),
                _ => {}
            }
        }
        let (apply, lock, unlock, probe, read, scan, scan_to_end, page, clock) = tokio::try_join!(
            client.prepare(APPLY),
            client.prepare(LOCK),
            client.prepare(UNLOCK),
            client.prepare(PROBE),
            client.prepare(READ),
            client.prepare(SCAN),
            client.prepare(SCAN_TO_END),
            client.prepare(PAGE),
            client.prepare(CLOCK),
        )?;
        Ok(Self { apply, lock, unlock, probe, read, scan, scan_to_end, page, clock })
    }
}
