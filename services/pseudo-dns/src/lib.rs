//! pseudo-dns
