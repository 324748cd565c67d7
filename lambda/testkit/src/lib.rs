//! Test support: stand-ins that speak the wire formats of the services the gateway uses.

pub mod bedrock;
pub mod bench;
pub mod lambda;
pub mod listen;
pub mod tap;
pub mod tls;
