//! The llm-gateway command.
fn main() {}
