//! Names of stored conversations.

/// The prefix of names.
pub(super) const COLLECTION: &str = "conversations/";

/// The name of a conversation by its id, or by its name.
pub(super) fn name(id: &str) -> String {
    format!("{COLLECTION}{}", id.strip_prefix(COLLECTION).unwrap_or(id))
}
