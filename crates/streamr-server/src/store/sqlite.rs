//! The embedded store: one SQLite file, write-ahead log, no server to run.

use std::path::Path;
use std::str::FromStr;
use std::time::Duration;

use async_trait::async_trait;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::query::Query;
use sqlx::sqlite::{
    SqliteArguments, SqliteConnectOptions, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteRow, SqliteSynchronous,
};
use sqlx::{Row, query};
use streamr_core::id::{BroadcastId, StreamName};
use streamr_core::key::KeyHash;
use streamr_core::lifecycle::State;

use super::{Broadcast, NewStream, Store, Stream};
use crate::Error;

static MIGRATIONS: Migrator = sqlx::migrate!("./migrations");

/// How long a statement waits for another process that writes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);
/// Readers beside the one writer that SQLite allows. The store is not on any media path.
const CONNECTIONS_MAX: u32 = 4;

/// Streams with the broadcast that is on, columns as `Sqlite::stream` reads them.
macro_rules! select_streams {
    ($tail:literal) => {
        query(concat!(
            "SELECT s.name, s.title, s.state, s.key_hash, s.created_unix_ms, ",
            "b.id, b.started_unix_ms, b.ended_unix_ms, b.viewers_peak FROM streams s ",
            "LEFT JOIN broadcasts b ON b.stream = s.name AND b.ended_unix_ms IS NULL ",
            $tail
        ))
    };
}

/// A store in one SQLite file, or in memory.
pub struct Sqlite {
    pool: SqlitePool,
    path: String,
}

impl Sqlite {
    /// Opens the file, makes it if absent (its folder must exist), and brings its schema up to
    /// date.
    ///
    /// # Errors
    /// `Store*`: locked, read-only, full, newer or damaged.
    pub async fn open(path: &Path) -> Result<Self, Error> {
        Self::open_waiting(path, BUSY_TIMEOUT).await
    }

    /// As `open`, waiting for another writer for `busy_timeout` only.
    ///
    /// # Errors
    /// As `open`.
    pub async fn open_waiting(path: &Path, busy_timeout: Duration) -> Result<Self, Error> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .busy_timeout(busy_timeout);
        Self::connect(options, CONNECTIONS_MAX, path.display().to_string()).await
    }

    /// A store that is gone with the process.
    ///
    /// # Errors
    /// `Error::Store`: memory ran out.
    pub async fn in_memory() -> Result<Self, Error> {
        let options = SqliteConnectOptions::from_str("sqlite::memory:")
            .map_err(|error| fault("in memory", &error))?;
        // Each connection would be a database of its own.
        Self::connect(options, 1, "in memory".to_owned()).await
    }

    async fn connect(
        options: SqliteConnectOptions,
        connections_max: u32,
        path: String,
    ) -> Result<Self, Error> {
        // NORMAL in WAL mode: whole after a crash of the process, and after a power cut at worst
        // the last moments are missing, which a live stream has lost anyway.
        let options = options.synchronous(SqliteSynchronous::Normal).foreign_keys(true);
        let pool = SqlitePoolOptions::new()
            .max_connections(connections_max)
            .acquire_timeout(Duration::from_secs(10))
            .idle_timeout(None)
            .max_lifetime(None)
            .connect_with(options)
            .await
            .map_err(|error| fault(&path, &error))?;
        MIGRATIONS.run(&pool).await.map_err(|error| migration_fault(&path, error))?;
        Ok(Self { pool, path })
    }

    /// Does something to the database behind the store's back.
    #[cfg(test)]
    pub(crate) async fn meddle(&self, statement: &'static str) {
        query(statement).execute(&self.pool).await.expect("a statement of the test's own");
    }

    fn fault(&self, error: &sqlx::Error) -> Error {
        fault(&self.path, error)
    }

    fn row_stream(&self, row: &SqliteRow) -> Result<Stream, Error> {
        let damaged = || Error::StoreDamaged(self.path.clone());
        let key: Vec<u8> = self.get(row, 3)?;
        Ok(Stream {
            name: StreamName::new(self.get::<String>(row, 0)?).map_err(|_| damaged())?,
            title: self.get(row, 1)?,
            state: self.get::<String>(row, 2)?.parse().map_err(|()| damaged())?,
            key: KeyHash::from_bytes(key.try_into().map_err(|_| damaged())?),
            created_unix_ms: self.get::<i64>(row, 4)?.cast_unsigned(),
            broadcast: match self.get::<Option<String>>(row, 5)? {
                Some(_) => Some(self.row_broadcast(row, 5)?),
                None => None,
            },
        })
    }

    /// A broadcast from four columns beginning with `first`.
    fn row_broadcast(&self, row: &SqliteRow, first: usize) -> Result<Broadcast, Error> {
        let id: String = self.get(row, first)?;
        Ok(Broadcast {
            id: id.parse().map_err(|_| Error::StoreDamaged(self.path.clone()))?,
            started_unix_ms: self.get::<i64>(row, first + 1)?.cast_unsigned(),
            ended_unix_ms: self.get::<Option<i64>>(row, first + 2)?.map(i64::cast_unsigned),
            viewers_peak: self.get(row, first + 3)?,
        })
    }

    fn get<'r, T>(&self, row: &'r SqliteRow, column: usize) -> Result<T, Error>
    where
        T: sqlx::Decode<'r, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        row.try_get(column).map_err(|error| self.fault(&error))
    }

    async fn change(
        &self,
        name: &StreamName,
        update: Query<'_, sqlx::Sqlite, SqliteArguments>,
    ) -> Result<(), Error> {
        let done = update.execute(&self.pool).await.map_err(|error| self.fault(&error))?;
        found(name, done.rows_affected())
    }
}

#[async_trait]
impl Store for Sqlite {
    async fn streams(&self) -> Result<Vec<Stream>, Error> {
        let rows = select_streams!("ORDER BY s.name").fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| self.fault(&error))?;
        rows.iter().map(|row| self.row_stream(row)).collect()
    }

    async fn stream(&self, name: &StreamName) -> Result<Option<Stream>, Error> {
        let found = select_streams!("WHERE s.name = ?").bind(name.as_str());
        let row = found.fetch_optional(&self.pool).await.map_err(|error| self.fault(&error))?;
        row.map(|row| self.row_stream(&row)).transpose()
    }

    async fn stream_by_key(&self, key: &KeyHash) -> Result<Option<Stream>, Error> {
        let found = select_streams!("WHERE s.key_hash = ?").bind(&key.as_bytes()[..]);
        let row = found.fetch_optional(&self.pool).await.map_err(|error| self.fault(&error))?;
        row.map(|row| self.row_stream(&row)).transpose()
    }

    async fn add_stream(&self, new: &NewStream) -> Result<Stream, Error> {
        let insert = query("INSERT INTO streams VALUES (?, ?, ?, ?, ?)")
            .bind(new.name.as_str())
            .bind(&new.title)
            .bind(State::Ready.as_str())
            .bind(&new.key.as_bytes()[..])
            .bind(new.created_unix_ms.cast_signed());
        match insert.execute(&self.pool).await {
            Ok(_) => Ok(Stream {
                name: new.name.clone(),
                title: new.title.clone(),
                state: State::Ready,
                key: new.key,
                created_unix_ms: new.created_unix_ms,
                broadcast: None,
            }),
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                Err(Error::NameTaken(new.name.to_string()))
            }
            Err(error) => Err(self.fault(&error)),
        }
    }

    async fn set_title(&self, name: &StreamName, title: &str) -> Result<(), Error> {
        let update = query("UPDATE streams SET title = ? WHERE name = ?");
        self.change(name, update.bind(title).bind(name.as_str())).await
    }

    async fn set_key(&self, name: &StreamName, key: &KeyHash) -> Result<(), Error> {
        let update = query("UPDATE streams SET key_hash = ? WHERE name = ?");
        self.change(name, update.bind(&key.as_bytes()[..]).bind(name.as_str())).await
    }

    async fn set_state(&self, name: &StreamName, state: State) -> Result<(), Error> {
        let update = query(
            "UPDATE streams SET state = ?1 \
             WHERE name = ?2 AND (state <> 'archived' OR ?1 = 'archived')",
        );
        match self.change(name, update.bind(state.as_str()).bind(name.as_str())).await {
            Err(Error::NoStream(_)) if self.stream(name).await?.is_some() => {
                Err(Error::State(State::Archived))
            }
            result => result,
        }
    }

    async fn start_broadcast(
        &self,
        name: &StreamName,
        id: BroadcastId,
        now_unix_ms: u64,
    ) -> Result<(), Error> {
        let now = now_unix_ms.cast_signed();
        let close = "UPDATE broadcasts SET ended_unix_ms = ? \
                     WHERE stream = ? AND ended_unix_ms IS NULL";
        // The select makes a missing stream zero rows rather than a constraint's words.
        let open = "INSERT INTO broadcasts (id, stream, started_unix_ms) \
                    SELECT ?, name, ? FROM streams WHERE name = ?";
        let done = async {
            let mut both = self.pool.begin().await?;
            query(close).bind(now).bind(name.as_str()).execute(&mut *both).await?;
            let open = query(open).bind(id.to_string()).bind(now).bind(name.as_str());
            let opened = open.execute(&mut *both).await?.rows_affected();
            both.commit().await?;
            Ok(opened)
        };
        found(name, done.await.map_err(|error| self.fault(&error))?)
    }

    async fn end_broadcast(
        &self,
        id: BroadcastId,
        now_unix_ms: u64,
        viewers_peak: u32,
    ) -> Result<(), Error> {
        let update = query(
            "UPDATE broadcasts SET ended_unix_ms = ?, viewers_peak = ? \
             WHERE id = ? AND ended_unix_ms IS NULL",
        );
        let update = update.bind(now_unix_ms.cast_signed()).bind(viewers_peak).bind(id.to_string());
        update.execute(&self.pool).await.map(drop).map_err(|error| self.fault(&error))
    }

    async fn broadcasts(&self, name: &StreamName, limit: u32) -> Result<Vec<Broadcast>, Error> {
        let newest = query(
            "SELECT id, started_unix_ms, ended_unix_ms, viewers_peak FROM broadcasts \
             WHERE stream = ? ORDER BY started_unix_ms DESC, id LIMIT ?",
        );
        let rows = newest.bind(name.as_str()).bind(limit).fetch_all(&self.pool).await;
        let rows = rows.map_err(|error| self.fault(&error))?;
        rows.iter().map(|row| self.row_broadcast(row, 0)).collect()
    }

    async fn setting(&self, key: &str) -> Result<Option<String>, Error> {
        let found = query("SELECT value FROM settings WHERE key = ?").bind(key);
        let row = found.fetch_optional(&self.pool).await.map_err(|error| self.fault(&error))?;
        row.map(|row| self.get(&row, 0)).transpose()
    }

    async fn set_setting(&self, key: &str, value: &str) -> Result<(), Error> {
        let put = query("INSERT OR REPLACE INTO settings VALUES (?, ?)").bind(key).bind(value);
        put.execute(&self.pool).await.map(drop).map_err(|error| self.fault(&error))
    }

    async fn check(&self) -> Result<(), Error> {
        self.set_setting("checked_unix_ms", &crate::time::unix_ms().to_string()).await
    }

    async fn close(&self) {
        self.pool.close().await;
    }
}

/// What it means that a statement changed `rows` rows of the stream called `name`.
fn found(name: &StreamName, rows: u64) -> Result<(), Error> {
    if rows == 0 { Err(Error::NoStream(name.to_string())) } else { Ok(()) }
}

/// SQLite's result codes (sqlite.org/rescode.html, primary code in the low byte) as sentences.
fn fault(path: &str, error: &sqlx::Error) -> Error {
    let path = path.to_owned();
    let code = match error {
        sqlx::Error::Database(error) => error.code().and_then(|code| code.parse::<u32>().ok()),
        sqlx::Error::PoolTimedOut => Some(5),
        _ => None,
    };
    match code.map(|code| code & 0xff) {
        Some(5 | 6) => Error::StoreLocked(path),
        Some(8 | 3) => Error::StoreReadOnly(path),
        Some(10) => Error::StoreDisk { path, reason: error.to_string() },
        Some(13) => Error::StoreFull(path),
        Some(11 | 26) => Error::StoreDamaged(path),
        _ => Error::Store { path, reason: error.to_string() },
    }
}

fn migration_fault(path: &str, error: MigrateError) -> Error {
    match error {
        MigrateError::VersionMissing(_) | MigrateError::VersionTooNew(..) => {
            Error::StoreNewer(path.to_owned())
        }
        MigrateError::Execute(error) => fault(path, &error),
        MigrateError::ExecuteMigration(error, _) => fault(path, &error),
        MigrateError::VersionMismatch(_) | MigrateError::Dirty(_) => {
            Error::StoreDamaged(path.to_owned())
        }
        other => Error::Store { path: path.to_owned(), reason: other.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn keeps_the_rules_of_stores_in_memory_and_on_disk() {
        let folder = tempfile::tempdir().unwrap();
        crate::store::conformance::run(&Sqlite::in_memory().await.unwrap()).await;
        let path = folder.path().join("streamr.db");
        crate::store::conformance::run(&Sqlite::open(&path).await.unwrap()).await;
    }

    /// The second of two openings of one file, with options of its own.
    async fn reopened(
        path: &Path,
        change: impl FnOnce(SqliteConnectOptions) -> SqliteConnectOptions,
    ) -> Result<(), Error> {
        let options = SqliteConnectOptions::new().filename(path);
        let options = change(options.busy_timeout(Duration::from_millis(50)));
        Sqlite::connect(options, 1, path.display().to_string()).await?.check().await
    }

    fn says(result: Result<(), Error>, code: &str, todo: &str) {
        let error = result.expect_err(code);
        assert_eq!(error.code(), code, "{error}");
        let text = error.to_string();
        assert!(text.contains(todo) && text.contains("streamr.db"), "{text}");
    }

    #[tokio::test]
    async fn each_failure_says_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("streamr.db");
        let first = Sqlite::open(&path).await.unwrap();
        let mut writer = first.pool.acquire().await.unwrap();
        query("BEGIN IMMEDIATE").execute(&mut *writer).await.unwrap();
        says(reopened(&path, |o| o).await, "store_locked", "stop the other streamr");
        query("ROLLBACK").execute(&mut *writer).await.unwrap();
        drop(writer);
        says(reopened(&path, |o| o.read_only(true)).await, "store_read_only", "chown");
        let full = Sqlite::connect(
            SqliteConnectOptions::new().filename(&path).pragma("max_page_count", "1"),
            1,
            path.display().to_string(),
        );
        let full = full.await.unwrap();
        let text = "x".repeat(1 << 20);
        says(full.set_setting("x", &text).await, "store_full", "free some space");
        full.check().await.expect("what fits is still written");
        query("INSERT INTO _sqlx_migrations VALUES (99, 'newer', 0, TRUE, x'00', 0)")
            .execute(&first.pool)
            .await
            .unwrap();
        says(reopened(&path, |o| o).await, "store_newer", "restore the backup");
        // In a folder of its own: beside a journal left by the others, SQLite would mend the file.
        let path = folder.path().join("damaged").join("streamr.db");
        std::fs::create_dir(path.parent().unwrap()).unwrap();
        std::fs::write(&path, "this is a text and no database".repeat(100)).unwrap();
        says(reopened(&path, |o| o).await, "store_damaged", "restore a backup");
    }
}
