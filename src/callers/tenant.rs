//! Tenants: whose a stored value is. Unlike the number of a caller, a tenant is the same in every
//! process, and unlike a name it cannot be chosen by somebody else: it is the SHA-256 of the kind
//! and the whole of the verified credentials' subject.

use aws_lc_rs::digest::{Context, SHA256};

use crate::chat::call::Tenant;

use super::credentials::{CredentialBytes, Credentials};

/// The tenant of a subject of this kind.
pub(super) fn of(kind: &str, who: &str) -> Tenant {
    hash([kind.as_bytes(), who.as_bytes()])
}

/// The tenant of a caller that needs no credentials: those that it sends distinguish it.
pub(super) fn of_anyone(credentials: &Credentials<'_>) -> Tenant {
    let bytes = |text: Option<CredentialBytes<'_>>| text.map_or(Vec::new(), |text| text.0.to_vec());
    match (credentials.authorization, credentials.api_key) {
        (None, None) => Tenant::default(),
        (authorization, api_key) => {
            hash([b"anyone".as_slice(), &bytes(authorization), &bytes(api_key)])
        }
    }
}

/// The hash of a kind and what identifies one of it. Each part is preceded by its length, so that
/// no two lists of parts have the same bytes.
pub(crate) fn hash<const N: usize>(parts: [&[u8]; N]) -> Tenant {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&part.len().to_le_bytes());
        context.update(part);
    }
    let mut tenant = Tenant::default();
    tenant.0.copy_from_slice(context.finish().as_ref());
    tenant
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenants_differ_by_kind_by_subject_and_by_where_one_ends() {
        let all = [
            of("key", "a"),
            of("jwt", "a"),
            of("key", "b"),
            of("keya", ""),
            of("", "keya"),
        ];
        for (at, one) in all.iter().enumerate() {
            assert!(!all.iter().skip(at + 1).any(|other| other == one));
        }
        assert_eq!(of("key", "a"), of("key", "a"));
    }

    #[test]
    fn a_caller_without_credentials_has_the_default_and_others_have_their_own() {
        let with = |authorization, api_key| {
            of_anyone(&Credentials {
                authorization,
                api_key,
                ..Credentials::default()
            })
        };
        let key = Some(CredentialBytes(b"k"));
        assert_eq!(with(None, None), Tenant::default());
        assert_ne!(with(key, None), with(None, key));
        assert_ne!(with(key, None), Tenant::default());
    }
}
