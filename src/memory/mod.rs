//! One account of the memory that calls hold, for the whole process.
//!
//! Whatever grows with what callers or DashScope send is charged here: requests as they are read
//! and decoded, bodies for DashScope, answers that are not read yet, answers that are kept, chunks
//! of uploads. The account is kept in [`GRAIN`]s, so a call that stays small costs one addition
//! when it begins and one when it ends, and nothing per event.
//!
//! The limit has three marks, because a call that has begun may already be paid for and one that
//! has not costs nothing to refuse:
//!
//! | used, of the limit | what happens |
//! |---|---|
//! | more than [`ADMIT_PERCENT`] | new calls are refused, and requests that are still being read |
//! | more than [`RELIEVE_PERCENT`] | kept answers are dropped, then the heaviest calls are ended |
//! | all of it | a call that needs more is ended itself |
//!
//! All of this is for callers above their part. A caller is within its part if everybody's memory
//! would fit below the first mark once no caller held more than this one. Its calls are admitted up
//! to the limit, they are not the ones that are ended, and at the limit calls of others are chosen
//! to be ended instead: what those still hold counts as free from then on. A new call is admitted
//! above the mark only if a caller above its part has several calls, or more than half of all.

mod account;
mod call;
mod holders;

pub use account::{
    ADMIT_PERCENT, CALL, Claim, GRAIN, KEPT_PERCENT, Kind, MemoryLedger, OPEN_PERCENT,
    RELIEVE_PERCENT, Share, WATCHES_PERCENT, full,
};
pub use call::CallMemory;
pub use holders::{Ending, Places};
