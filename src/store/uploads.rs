//! Files that replicas have uploaded to DashScope: whose they are, and the account that stored
//! them.

use std::time::Duration;

use crate::chat::call::Tenant;
use crate::error::Error;
use crate::hex;

use super::repeat::repeat;
use super::statement::{Statement, statement};
use super::{Store, millis};

/// How many are read at once.
pub const MOST: usize = 1000;

/// How many rows are deleted at once.
const SWEEP: i64 = 500;

/// The SHA-256 digest of a URI, by which an upload is found: a URI alone gives access.
pub type UriDigest = [u8; 32];

/// An upload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredUpload {
    /// The digest of its URI.
    pub uri: UriDigest,
    /// Whose it is.
    pub tenant: Tenant,
    /// The account that stored it: the hash of its address and its key. `None` if its caller's own
    /// key was used.
    pub account: Option<Tenant>,
    /// The expiry as returned to the caller, in seconds since 1970.
    pub expires_at: i64,
    /// How much longer DashScope keeps it.
    pub left: Duration,
}

const ADD: Statement = statement!(
    "INSERT INTO uploads (uri, tenant, account, expires_at, until)
     VALUES ($1, $2, $3, $4, $5 + " now ")
     ON CONFLICT (uri) DO UPDATE SET tenant = excluded.tenant, account = excluded.account,
       expires_at = excluded.expires_at, until = excluded.until"
);

/// The digests are one text, with commas: the driver of both engines has no lists.
const FIND: Statement = statement!(
    "SELECT uri, tenant, account, expires_at, until - " now " FROM uploads WHERE uri "
    ("IN (SELECT unhex(value) FROM json_each('[\"' || replace($1, ',', '\",\"') || '\"]'))"
     | "= ANY (ARRAY(SELECT decode(d, 'hex') FROM unnest(string_to_array($1, ',')) AS d))")
    " AND until > " now
);

const EXPIRED: Statement = statement!(
    "DELETE FROM uploads WHERE uri IN (SELECT uri FROM uploads WHERE until < " now " LIMIT $1)"
);

impl Store {
    /// Records an upload.
    pub async fn add_upload(&self, upload: &StoredUpload) -> Result<(), Error> {
        let account = upload.account.as_ref().map_or(&[][..], Tenant::as_bytes);
        let done = repeat!(self, "add_upload", connection, {
            sqlx::query(ADD.text(self.engine))
                .bind(upload.uri.as_slice())
                .bind(upload.tenant.as_bytes())
                .bind(account)
                .bind(upload.expires_at)
                .bind(millis(upload.left))
                .execute(&mut *connection)
                .await
        });
        done.map(drop)
    }

    /// Those of these uploads, at most [`MOST`], that were recorded and have not expired.
    pub async fn uploads(&self, uris: &[UriDigest]) -> Result<Vec<StoredUpload>, Error> {
        type Row = (Vec<u8>, Vec<u8>, Vec<u8>, i64, i64);
        let digests = uris.iter().take(MOST).map(|uri| hex::encode(uri));
        let digests = digests.collect::<Vec<_>>().join(",");
        let rows = repeat!(self, "uploads", connection, {
            let read = sqlx::query_as::<_, Row>(FIND.text(self.engine)).bind(&*digests);
            read.fetch_all(&mut *connection).await
        })?;
        let uploads = rows.into_iter().filter_map(|row| {
            let (uri, tenant, account, expires_at, left) = row;
            Some(StoredUpload {
                uri: uri.try_into().ok()?,
                tenant: Tenant(tenant.try_into().ok()?),
                account: account.try_into().ok().map(Tenant),
                expires_at,
                left: Duration::from_millis(left.try_into().ok()?),
            })
        });
        Ok(uploads.collect())
    }

    /// Deletes those that have expired. Returns whether there may be more.
    pub(super) async fn sweep_uploads(&self) -> Result<bool, Error> {
        let deleted = repeat!(self, "sweep_uploads", connection, {
            let expired = sqlx::query(EXPIRED.text(self.engine)).bind(SWEEP);
            expired.execute(&mut *connection).await
        })?;
        Ok(deleted.rows_affected() >= SWEEP.unsigned_abs())
    }
}
