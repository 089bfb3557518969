//! The codes of gRPC statuses and their names.

use tonic::Code;

/// The codes by number, each with its name in metrics and its name in the specification.
pub const CODES: [(Code, &str, &str); 17] = [
    (Code::Ok, "OK", "OK"),
    (Code::Cancelled, "Canceled", "CANCELLED"),
    (Code::Unknown, "Unknown", "UNKNOWN"),
    (Code::InvalidArgument, "InvalidArgument", "INVALID_ARGUMENT"),
    (
        Code::DeadlineExceeded,
        "DeadlineExceeded",
        "DEADLINE_EXCEEDED",
    ),
    (Code::NotFound, "NotFound", "NOT_FOUND"),
    (Code::AlreadyExists, "AlreadyExists", "ALREADY_EXISTS"),
    (
        Code::PermissionDenied,
        "PermissionDenied",
        "PERMISSION_DENIED",
    ),
    (
        Code::ResourceExhausted,
        "ResourceExhausted",
        "RESOURCE_EXHAUSTED",
    ),
    (
        Code::FailedPrecondition,
        "FailedPrecondition",
        "FAILED_PRECONDITION",
    ),
    (Code::Aborted, "Aborted", "ABORTED"),
    (Code::OutOfRange, "OutOfRange", "OUT_OF_RANGE"),
    (Code::Unimplemented, "Unimplemented", "UNIMPLEMENTED"),
    (Code::Internal, "Internal", "INTERNAL"),
    (Code::Unavailable, "Unavailable", "UNAVAILABLE"),
    (Code::DataLoss, "DataLoss", "DATA_LOSS"),
    (Code::Unauthenticated, "Unauthenticated", "UNAUTHENTICATED"),
];

/// The name of a code in the specification.
pub fn name(code: Code) -> &'static str {
    CODES
        .get(code as usize)
        .map_or("UNKNOWN", |(_, _, name)| name)
}

/// Whether OpenTelemetry's conventions count a code as an error of the server.
pub fn is_server_error(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_code_is_in_the_place_of_its_number() {
        for (number, (code, _, spelled)) in CODES.iter().enumerate() {
            assert_eq!(i32::from(*code), i32::try_from(number).unwrap());
            assert_eq!(name(*code), *spelled);
        }
        assert_eq!(Code::from_i32(17), Code::Unknown, "a new code has no name");
    }
}
