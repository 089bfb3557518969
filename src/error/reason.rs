//! The reasons of errors, each with its class. The schema has them as `ErrorReason`.

/// The class of an error: what the caller has to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Fix the request.
    Invalid,
    /// Use what exists, or another name.
    Exists,
    /// Authenticate.
    Unauthenticated,
    /// Request permission.
    Forbidden,
    /// Use something that exists.
    NotFound,
    /// Ask for something that is still there.
    OutOfRange,
    /// Change the state first: pay a bill, upload a file, shorten a conversation.
    Precondition,
    /// Wait, or request a higher limit.
    Exhausted,
    /// Retry: nothing was executed.
    Unavailable,
    /// Use a longer timeout.
    TimedOut,
    /// Check the state, then decide.
    Aborted,
    /// Do not use it: it is not supported.
    Unsupported,
    /// Compare with what the caller has: acknowledged data are lost.
    Lost,
    /// Report it to the operator. The model may have run.
    Broken,
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident, $name:literal, $kind:ident;)+) => {
        /// The specific error. Its name is the reason in `google.rpc.ErrorInfo`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Reason {
            /// Every reason, in the order of the table.
            pub const ALL: &[Self] = &[$(Self::$variant,)+];

            /// The name in UPPER_SNAKE_CASE.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)+ }
            }

            /// The class, provided that the model did not run.
            pub fn kind(self) -> Kind {
                match self { $(Self::$variant => Kind::$kind,)+ }
            }

            /// The meaning in a sentence, for the reference.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$variant => concat!($($doc),+).trim_ascii(),)+ }
            }
        }
    };
}

reasons! {
    /// A field of the request is missing or invalid; `google.rpc.BadRequest` has its path.
    InvalidRequest, "INVALID_REQUEST", Invalid;
    /// DashScope refused a parameter or the form of the conversation.
    UpstreamRejected, "UPSTREAM_REJECTED", Invalid;
    /// The model does not support what was requested.
    ModelCapability, "MODEL_CAPABILITY", Invalid;
    /// The model supports only streams. The gateway handles this; reported only if that fails.
    StreamOnly, "STREAM_ONLY", Invalid;
    /// The model does not stream. The gateway handles this; reported only if that fails.
    WholeOnly, "WHOLE_ONLY", Invalid;
    /// DashScope cannot fetch a URI of this form.
    MediaUrl, "MEDIA_URL", Invalid;
    /// DashScope cannot read the media: wrong format, empty, or too long.
    MediaFormat, "MEDIA_FORMAT", Invalid;
    /// The media are larger than DashScope accepts.
    MediaTooLarge, "MEDIA_TOO_LARGE", Invalid;
    /// The audio is longer than the model processes, and an error was requested.
    MediaTooLong, "MEDIA_TOO_LONG", Invalid;
    /// An image or a video does not show what the model needs.
    MediaContent, "MEDIA_CONTENT", Invalid;
    /// DashScope's content inspection blocked the request or the answer.
    ContentBlocked, "CONTENT_BLOCKED", Invalid;
    /// The `request_id` was used for another request.
    IdempotencyKeyReused, "IDEMPOTENCY_KEY_REUSED", Invalid;
    /// The credentials are missing or not accepted.
    Unauthenticated, "UNAUTHENTICATED", Unauthenticated;
    /// The caller may not do this.
    PermissionDenied, "PERMISSION_DENIED", Forbidden;
    /// The model does not exist, or was retired.
    ModelNotFound, "MODEL_NOT_FOUND", NotFound;
    /// A voice or another resource does not exist.
    ResourceNotFound, "RESOURCE_NOT_FOUND", NotFound;
    /// The conversation is longer than the model accepts.
    ContextTooLong, "CONTEXT_TOO_LONG", Precondition;
    /// DashScope could not fetch media from their URL.
    MediaUnreachable, "MEDIA_UNREACHABLE", Precondition;
    /// Media in DashScope's storage have expired, or belong to another model or account.
    MediaExpired, "MEDIA_EXPIRED", Precondition;
    /// The operator's DashScope account is unpaid, not subscribed, or has a used-up quota.
    UpstreamBilling, "UPSTREAM_BILLING", Precondition;
    /// DashScope refused the operator's key.
    UpstreamCredential, "UPSTREAM_CREDENTIAL", Precondition;
    /// The operator's key may not use this model or workspace.
    UpstreamPermission, "UPSTREAM_PERMISSION", Precondition;
    /// A DashScope application, plug-in or flow failed or is not published.
    UpstreamApp, "UPSTREAM_APP", Precondition;
    /// DashScope's request rate limit is reached.
    UpstreamRate, "UPSTREAM_RATE", Exhausted;
    /// The rate of requests to DashScope grew too fast.
    UpstreamBurst, "UPSTREAM_BURST", Exhausted;
    /// DashScope's token rate limit is reached.
    UpstreamTokens, "UPSTREAM_TOKENS", Exhausted;
    /// A quota of objects that DashScope stores for the account is used up.
    UpstreamQuota, "UPSTREAM_QUOTA", Exhausted;
    /// The caller's limit of calls per minute is reached.
    CallerRate, "CALLER_RATE", Exhausted;
    /// The caller's limit of tokens per minute is used or reserved.
    CallerTokens, "CALLER_TOKENS", Exhausted;
    /// The caller's limit of concurrent calls is reached.
    CallerStreams, "CALLER_STREAMS", Exhausted;
    /// The caller's limit of tokens per day is used or reserved.
    CallerBudget, "CALLER_BUDGET", Exhausted;
    /// A message is larger than the limit.
    MessageTooLarge, "MESSAGE_TOO_LARGE", Exhausted;
    /// The metadata of the call are larger than the limit.
    MetadataTooLarge, "METADATA_TOO_LARGE", Exhausted;
    /// The caller reads its response too slowly.
    SlowConsumer, "SLOW_CONSUMER", Exhausted;
    /// DashScope's host name cannot be resolved.
    UpstreamDns, "UPSTREAM_DNS", Unavailable;
    /// The connection to DashScope failed.
    UpstreamConnect, "UPSTREAM_CONNECT", Unavailable;
    /// The TLS connection to DashScope's host is not trusted.
    UpstreamTls, "UPSTREAM_TLS", Unavailable;
    /// DashScope reported an internal error.
    UpstreamInternal, "UPSTREAM_INTERNAL", Unavailable;
    /// DashScope's model is overloaded or not running.
    UpstreamOverloaded, "UPSTREAM_OVERLOADED", Unavailable;
    /// DashScope's temporary storage failed.
    UpstreamStorage, "UPSTREAM_STORAGE", Unavailable;
    /// DashScope, or a proxy in front of it, reported an unknown error.
    UpstreamUnknown, "UPSTREAM_UNKNOWN", Unavailable;
    /// DashScope is still processing the media.
    MediaNotReady, "MEDIA_NOT_READY", Unavailable;
    /// The limit of calls in flight or of memory is reached.
    Overloaded, "OVERLOADED", Unavailable;
    /// The gateway is shutting down.
    ShuttingDown, "SHUTTING_DOWN", Unavailable;
    /// DashScope failed repeatedly, and the circuit breaker is open.
    CircuitOpen, "CIRCUIT_OPEN", Unavailable;
    /// The method does not exist.
    UnknownMethod, "UNKNOWN_METHOD", Unsupported;
    /// A message is not valid protobuf of the method, or its compression is invalid.
    MalformedMessage, "MALFORMED_MESSAGE", Broken;
    /// The deadline of the call expired.
    DeadlineExceeded, "DEADLINE_EXCEEDED", TimedOut;
    /// The deadline of the call expired before DashScope was called.
    Queued, "QUEUED", TimedOut;
    /// DashScope did not start to answer in time.
    FirstEventTimeout, "FIRST_EVENT_TIMEOUT", TimedOut;
    /// DashScope stopped sending in the middle of its answer.
    StreamStalled, "STREAM_STALLED", TimedOut;
    /// DashScope ended the request after its own time limit.
    UpstreamTimeout, "UPSTREAM_TIMEOUT", TimedOut;
    /// The caller stopped sending its request.
    RequestBodyTimeout, "REQUEST_BODY_TIMEOUT", TimedOut;
    /// The model produced output that DashScope could not parse.
    ModelOutput, "MODEL_OUTPUT", Aborted;
    /// DashScope reported a conflict with another request.
    UpstreamConflict, "UPSTREAM_CONFLICT", Aborted;
    /// A call with this `request_id` is running, and its answer is too long to be shared.
    CallInProgress, "CALL_IN_PROGRESS", Aborted;
    /// DashScope does not support this, or not for this model.
    UnsupportedOperation, "UNSUPPORTED_OPERATION", Unsupported;
    /// The gateway has no store for conversations.
    NamedConversation, "NAMED_CONVERSATION", Unsupported;
    /// The connection to DashScope broke before it answered.
    UpstreamReset, "UPSTREAM_RESET", Broken;
    /// DashScope's answer ended before it was complete.
    StreamTruncated, "STREAM_TRUNCATED", Broken;
    /// DashScope's answer is invalid.
    UpstreamProtocol, "UPSTREAM_PROTOCOL", Broken;
    /// The gateway sent a request that violates DashScope's rules.
    GatewayBug, "GATEWAY_BUG", Broken;
    /// The gateway's base URL or workspace does not fit DashScope.
    GatewayConfig, "GATEWAY_CONFIG", Broken;
    /// A live session had no activity for too long.
    SessionIdle, "SESSION_IDLE", TimedOut;
    /// A live session reached DashScope's time limit.
    SessionExpired, "SESSION_EXPIRED", TimedOut;
    /// The live session to resume does not exist or has ended, or the token is not its own.
    SessionNotFound, "SESSION_NOT_FOUND", NotFound;
    /// The events that the caller missed are no longer kept, or do not exist.
    ResumeGap, "RESUME_GAP", OutOfRange;
    /// Another stream resumed this live session.
    SessionTakenOver, "SESSION_TAKEN_OVER", Aborted;
    /// The gateway's store does not answer.
    StoreDown, "STORE_DOWN", Unavailable;
    /// The gateway's store is full. What it has can be read and deleted.
    StoreFull, "STORE_FULL", Unavailable;
    /// The gateway's store is damaged.
    StoreDamaged, "STORE_DAMAGED", Broken;
    /// The model has answered, and the answer could not be stored.
    AnswerNotSaved, "ANSWER_NOT_SAVED", Broken;
    /// The replica that ran the call stopped, or was separated from the store, in the middle of the
    /// answer.
    OwnerLost, "OWNER_LOST", Broken;
    /// CancelCall or CancelTurn ended this call.
    CallCancelled, "CALL_CANCELLED", Aborted;
    /// The caller has no running call with this `request_id`.
    CallNotFound, "CALL_NOT_FOUND", NotFound;
    /// The stored conversation or turn does not exist, or belongs to another caller.
    ConversationNotFound, "CONVERSATION_NOT_FOUND", NotFound;
    /// Another turn of the conversation is running.
    ConversationBusy, "CONVERSATION_BUSY", Aborted;
    /// The conversation has another latest turn than expected.
    StaleConversation, "STALE_CONVERSATION", Aborted;
    /// The history to send is larger than the gateway sends.
    ConversationTooLong, "CONVERSATION_TOO_LONG", Precondition;
    /// A stored conversation with this id exists.
    ConversationExists, "CONVERSATION_EXISTS", Exists;
    /// The store has lost turns: the conversation never had a turn of the expected number.
    HistoryRegressed, "HISTORY_REGRESSED", Lost;
}
