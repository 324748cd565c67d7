//! The ws Lambda.
fn main() {}
