//! A ledger of the memory that calls hold, for the whole process.
//!
//! Everything that grows with data of callers or DashScope is charged here: requests as they are
//! read and decoded, bodies for DashScope, responses that are not read yet, kept results, chunks of
//! uploads. The ledger counts in [`GRAIN`]s, so a call that stays small costs one addition when it
//! begins and one when it ends, and nothing per event.
//!
//! The limit has three thresholds, because a running call may already be billed and rejecting a new
//! one costs nothing:
//!
//! | used, of the limit | effect |
//! |---|---|
//! | more than [`ADMIT_PERCENT`] | new calls are rejected, and requests that are still being read |
//! | more than [`RELIEVE_PERCENT`] | kept results are dropped, then large calls are cancelled |
//! | all of it | a call that needs more fails |
//!
//! This applies to callers above their fair share. A caller is within its fair share if all memory
//! would fit below the first threshold once no caller held more than this one. Its calls are
//! admitted up to the limit and not cancelled, and at the limit calls of others are chosen for
//! cancellation instead: their memory counts as free from then on. A new call is admitted above the
//! threshold only if a caller above its fair share has several calls, or more than half of all
//! memory.

mod account;
mod call;
mod holders;

pub use account::{
    ADMIT_PERCENT, CALL, Claim, GRAIN, KEPT_PERCENT, Kind, MemoryLedger, OPEN_PERCENT,
    RELIEVE_PERCENT, Share, WATCHES_PERCENT, full,
};
pub use call::CallMemory;
pub use holders::{CallCounts, Cancel};
