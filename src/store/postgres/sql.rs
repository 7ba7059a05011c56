//! The statements, prepared once on each connection. What they are made of, PostgreSQL, YugabyteDB and CockroachDB
//! have in common.

use tokio_postgres::{Client, Error, Statement};

/// What makes the server plan each statement once, and by the index also while the table is small and no statistics
/// tell it otherwise. Servers that do not know one of these do without.
const HINTS: [&str; 3] =
    ["SET plan_cache_mode = force_generic_plan", "SET enable_seqscan = off", "SET jit = off"];

/// Carries out a commit, if it may be; see [`commit`](super::commit).
///
/// In: keys expected, their versions, every key concerned, keys to put, their values, keys to put that are expected
/// to be absent, keys to delete, the commit's version. Out: whether the commit had been made before, the place of
/// the first expectation that does not hold, whether every key to delete is locked. A division by zero: a key is
/// there that was absent when the statement began.
const APPLY: &str = "
WITH expected AS MATERIALIZED (
    SELECT key, version, place
    FROM unnest($1::bytea[], $2::bigint[]) WITH ORDINALITY AS expected (key, version, place)
), locked AS MATERIALIZED (
    SELECT key, nullif(version, 0) AS version
    FROM rallypoint_entries WHERE key = ANY ($3::bytea[]) ORDER BY key FOR UPDATE
), verdict AS MATERIALIZED (
    SELECT
        (SELECT count(*) FROM locked WHERE version = $8::bigint) > 0 AS applied,
        (SELECT min(place) FROM expected LEFT JOIN locked USING (key)
            WHERE locked.version IS DISTINCT FROM expected.version) AS failed,
        (SELECT count(*) FROM locked WHERE key = ANY ($7::bytea[])) = cardinality($7::bytea[]) AS sure
), put AS (
    INSERT INTO rallypoint_entries (key, value, version)
    SELECT new.key, new.value, $8::bigint
    FROM unnest($4::bytea[], $5::bytea[]) AS new (key, value), verdict
    WHERE verdict.failed IS NULL AND verdict.sure
    ORDER BY new.key
    ON CONFLICT (key) DO UPDATE SET value = excluded.value, version = excluded.version
    WHERE rallypoint_entries.version = 0 OR rallypoint_entries.key <> ALL ($6::bytea[])
    RETURNING key
), deleted AS (
    DELETE FROM rallypoint_entries USING verdict
    WHERE key = ANY ($7::bytea[]) AND verdict.failed IS NULL AND verdict.sure
)
SELECT applied, failed, sure,
    1 / (failed IS NOT NULL OR NOT sure OR (SELECT count(*) FROM put) = cardinality($4::bytea[]))::int
FROM verdict";

/// Locks keys in their order, present or not: an absent one gets a placeholder, which has version 0, is deleted in the
/// same transaction, and so is seen by nobody else. In: the keys.
const LOCK: &str = "
INSERT INTO rallypoint_entries (key, value, version)
SELECT key, '', 0 FROM unnest($1::bytea[]) AS touched (key) ORDER BY key
ON CONFLICT (key) DO UPDATE SET version = rallypoint_entries.version WHERE rallypoint_entries.version < 0";

/// Takes the placeholders away. In: the keys.
const UNLOCK: &str = "DELETE FROM rallypoint_entries WHERE key = ANY ($1::bytea[]) AND version = 0";

/// Reads what is other than is known. In: keys, and the versions that are known of them, if any. Out: the place of such a
/// key, and what it has now; nothing for the others, so that a poll of what has not changed costs but the question.
const READ: &str = "
SELECT known.place, entry.version, entry.value
FROM unnest($1::bytea[], $2::bigint[]) WITH ORDINALITY AS known (key, version, place)
LEFT JOIN rallypoint_entries AS entry ON entry.key = known.key
WHERE entry.version IS DISTINCT FROM known.version";

/// Reads ranges. In: their starts, their ends, how many of each at most. Out: the place of a range, and what it has, in
/// order.
const SCAN: &str = "
SELECT range.place, entry.key, entry.version, entry.value
FROM unnest($1::bytea[], $2::bytea[]) WITH ORDINALITY AS range (first, beyond, place), LATERAL (
    SELECT key, version, value FROM rallypoint_entries
    WHERE key >= range.first AND key < range.beyond ORDER BY key LIMIT $3::bigint
) AS entry
ORDER BY range.place, entry.key";

/// Reads a range without an end. In: its start, how many at most.
const SCAN_TO_END: &str = "
SELECT key, version, value FROM rallypoint_entries WHERE key >= $1::bytea ORDER BY key LIMIT $2::bigint";

/// Reads a page: values from a key on, up to the one with which they take so many bytes. In: the key, how many at
/// most, how many bytes.
const PAGE: &str = "
SELECT key, version, value FROM (
    SELECT key, version, value, sum(octet_length(key) + octet_length(value)) OVER (ORDER BY key) AS bytes
    FROM (
        SELECT key, version, value FROM rallypoint_entries WHERE key >= $1::bytea ORDER BY key LIMIT $2::bigint
    ) AS first
) AS summed
WHERE bytes - octet_length(key) - octet_length(value) < $3::bigint ORDER BY key";

/// The database's clock, in milliseconds since the epoch.
const CLOCK: &str = "SELECT (extract(epoch FROM clock_timestamp()) * 1000)::bigint";

/// The statements of one connection.
pub(super) struct Statements {
    pub(super) apply: Statement,
    pub(super) lock: Statement,
    pub(super) unlock: Statement,
    pub(super) read: Statement,
    pub(super) scan: Statement,
    pub(super) scan_to_end: Statement,
    pub(super) page: Statement,
    pub(super) clock: Statement,
}

impl Statements {
    /// Sets a new connection up.
    pub(super) async fn prepare(client: &Client) -> Result<Self, Error> {
        for hint in HINTS {
            match client.batch_execute(hint).await {
                Err(error) if error.as_db_error().is_none() => return Err(error),
                _ => {}
            }
        }
        let (apply, lock, unlock, read, scan, scan_to_end, page, clock) = tokio::try_join!(
            client.prepare(APPLY),
            client.prepare(LOCK),
            client.prepare(UNLOCK),
            client.prepare(READ),
            client.prepare(SCAN),
            client.prepare(SCAN_TO_END),
            client.prepare(PAGE),
            client.prepare(CLOCK),
        )?;
        Ok(Self { apply, lock, unlock, read, scan, scan_to_end, page, clock })
    }
}
