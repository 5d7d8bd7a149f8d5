//! Proves every fault with a plain client: what it sees is what a test asked for.
