//! Our own SCTP association, behind [`crate::association::Association`].
//!
//! Nothing is here yet: until it stands, sessions run on the crate `sctp-proto`, whose work on each
//! packet grows with the bytes in flight and which recovers from loss as Reno did.
