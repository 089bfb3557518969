//! The embedded DashScope.
