//! Limits that replicas share through the store.
//!
//! Each replica takes a share of a limit in advance. Calls are decided by the share alone, without
//! access to the store; a task in the background reports what was used and renews the share. A
//! replica that ends returns its share, and one that dies loses it when its lease ends.

mod quota;
mod refresher;
mod share;
#[cfg(test)]
mod simulation;

pub use quota::{Quota, Quotas, Renewals, Verdict, WhenDown};
pub use refresher::Refresher;

pub use crate::store::allowance::QuotaKind;
