//! The owners of uploads that replicas share, if there is a store: this process knows only its own.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use tokio::time::Instant;

use crate::callers::tenant;
use crate::chat::call::{Call, Tenant};
use crate::chat::upload::{KEPT, Uploaded};
use crate::error::Error;
use crate::relay::media::storage_owners::{self, Owner, Whose, key};
use crate::store::uploads::{MOST, StoredUpload, UriDigest};

use super::{Accounts, Lease};

impl Accounts {
    /// Rejects a call that uses another caller's upload, an expired one, or, if `strict`, an
    /// unknown one. What this process does not know is looked up in the store.
    pub(in crate::relay) async fn check_owners(
        &self,
        call: &Call,
        strict: bool,
    ) -> Result<(), Error> {
        if !strict && self.sharing.is_none() && self.owners.is_empty() {
            return Ok(());
        }
        let who = (call.caller, call.tenant);
        let unknown = self.owners.check(&call.prompt, who)?;
        if unknown.is_empty() {
            return Ok(());
        }
        let found = match self.learn_owners(&unknown).await {
            Err(error) if strict => return Err(error),
            found => found.unwrap_or_default(),
        };
        storage_owners::check_found(&call.prompt, who, (&unknown, &found), strict)
    }

    /// Looks up the uploads of a stored history: they may be those of other replicas, and only the
    /// account that stored them can read them. Without the store, any account is asked.
    pub(in crate::relay) async fn learn_owners_of_history(&self, call: &Call) {
        if call.stored.is_some() && self.sharing.is_some() {
            let _ = self.learn_owners(&self.owners.unknown(&call.prompt)).await;
        }
    }

    /// Looks up these uploads, which this process does not know. Returns the owners of those that
    /// are known to the store.
    async fn learn_owners(
        &self,
        unknown: &BTreeSet<String>,
    ) -> Result<HashMap<String, Owner>, Error> {
        let mut owners = HashMap::new();
        let Some(sharing) = &self.sharing else {
            return Ok(owners);
        };
        let unknown: BTreeMap<_, _> = unknown.iter().map(|key| (digest(key), key)).collect();
        let digests: Vec<_> = unknown.keys().copied().collect();
        for digests in digests.chunks(MOST) {
            let found = sharing.store().uploads(digests).await;
            let found = found.inspect_err(|error| {
                tracing::debug!(%error, "the owners of uploads could not be looked up");
            })?;
            for upload in found {
                if let Some(key) = unknown.get(&upload.uri) {
                    let owner = self.owner(&upload);
                    self.owners.learned(key, owner.clone());
                    owners.insert((*key).clone(), owner);
                }
            }
        }
        Ok(owners)
    }

    fn owner(&self, upload: &StoredUpload) -> Owner {
        let members = self.members();
        let id = upload.account;
        let member = members.iter().find(|m| id.is_some() && m.shared_id() == id);
        Owner {
            account: member.map(|member| member.account.name.as_str().into()),
            whose: Whose::Tenant(upload.tenant),
            gone: Instant::now() + upload.left,
            expires_at: upload.expires_at,
        }
    }

    /// Records an upload for other replicas. If that fails, it is known to this one alone.
    pub(in crate::relay) async fn share_upload(
        &self,
        uploaded: &Uploaded,
        lease: &Lease,
        tenant: Tenant,
    ) {
        let (Some(sharing), Some(key)) = (&self.sharing, key(&uploaded.uri)) else {
            return;
        };
        let upload = StoredUpload {
            uri: digest(&key),
            tenant,
            account: lease.member.shared_id().filter(|_| lease.by_its_key),
            expires_at: uploaded.expires_at,
            left: KEPT,
        };
        if let Err(error) = sharing.store().add_upload(&upload).await {
            tracing::warn!(%error, "other replicas will not know the owner of an upload");
        }
    }
}

fn digest(key: &str) -> UriDigest {
    tenant::hash([b"upload".as_slice(), key.as_bytes()]).0
}
