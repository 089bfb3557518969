//! The whole gateway over real sockets: a gRPC client before it, a scripted DashScope behind it.
//!
//! Time is paused in these tests: it moves on only when nobody has anything left to do, so a test
//! of a ten-minute clock takes no time, and nothing is ever waited for by sleeping.
#![allow(
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "a test that meets what it does not expect must fail, and this crate has no users"
)]

mod accounts;
mod answers;
mod answers_sent_back;
mod basics;
mod body_limit;
mod callers;
mod captures;
mod certificates;
mod command_answers;
mod command_connections;
mod command_conversations;
mod command_line;
mod command_live;
mod command_live_breaks;
mod command_models;
mod command_output;
mod command_speak;
mod connection_lifetime;
mod deadlines;
mod emulator_answers;
mod emulator_generation;
mod emulator_inference;
mod emulator_openai;
mod emulator_realtime_captures;
mod emulator_realtime_families;
mod emulator_realtime_scripts;
mod emulator_realtime_session;
mod emulator_realtime_speech;
mod emulator_realtime_turns;
mod emulator_recorded;
mod emulator_server;
mod emulator_uploads;
mod error_table;
mod expired_uploads;
mod floods;
mod idempotency;
mod identity;
mod joined_keys;
mod kept_answers;
mod lifecycle;
mod limits;
mod live_bounds;
mod live_connect;
mod live_drain;
mod live_emulated;
mod live_events;
mod live_limits;
mod live_reload;
mod live_repairs_cancel;
mod live_repairs_dialects;
mod live_repairs_finish;
mod live_repairs_idle;
mod live_repairs_reconnect;
mod live_repairs_usage;
mod live_resampling;
mod live_resume;
mod live_resume_ends;
mod live_sessions;
mod live_synthesis;
mod live_tool_calls;
mod long_audio;
mod malformed_input;
mod media;
mod metrics;
mod model_health;
mod model_service;
mod models;
mod mutations;
mod network;
mod no_store;
mod notation;
mod observability;
mod openai_answers;
mod openai_audio;
mod openai_calls;
mod openai_ends;
mod openai_errors;
mod openai_history;
mod openai_mixed;
mod openai_models;
mod openai_options;
mod openai_order;
mod openai_requests;
mod openai_texts;
mod openai_transport;
mod overload;
mod protocols;
mod proxies;
mod proxy_refusals;
mod reload;
mod requests;
mod response_forms;
mod retries;
mod sdk_differences;
mod speech_streams;
mod storage;
mod stored;
#[path = "../support/mod.rs"]
mod support;
mod tls;
mod token_streams;
mod tool_calls;
mod traces;
mod unknown_keys;
mod unread_media;
mod unreadable_requests;
mod upload_policies;
mod upload_types;
mod uploads;
mod usage;
mod usage_so_far;
mod web;
mod whole_or_error;
mod wire;
