//! The server itself: what the official client does not look at.
