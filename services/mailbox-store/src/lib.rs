//! mailbox-store
