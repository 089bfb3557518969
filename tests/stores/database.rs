//! The database of a store, behind the gateway's back.

use dashgate::config::StoreSettings;
use sqlx::{AnyConnection, Connection as _};

/// A connection to it.
pub async fn connection(store: &StoreSettings) -> AnyConnection {
    sqlx::any::install_default_drivers();
    AnyConnection::connect(store.url.expose()).await.unwrap()
}

/// Runs SQL.
pub async fn execute(store: &StoreSettings, sql: impl sqlx::SqlSafeStr) {
    let mut connection = connection(store).await;
    sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
}

/// The number that this query returns.
pub async fn number(store: &StoreSettings, sql: &'static str) -> i64 {
    let mut connection = connection(store).await;
    let row = sqlx::query_scalar(sql).fetch_one(&mut connection).await;
    connection.close().await.unwrap();
    row.unwrap()
}
