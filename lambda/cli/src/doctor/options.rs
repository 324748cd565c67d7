//! The command line of `doctor`.

use crate::options::ServeOptions;
use clap::Args;

/// Shown behind the options.
pub const HELP: &str = r#"Give it the options that `serve` gets, in the environment that it gets. It looks at everything that these
name, changes nothing, and prints a line for each: ok, note (worth knowing) or wrong (with what to do).

It looks at: the settings; the port, the data directory, the documents; AWS's Region and credentials;
Bedrock, by a request that it refuses, so that nothing is paid; the tables and the queue; OpenSearch, its
index and how it is searched; with --domain also what AWS says of the domain.

Examples:
  llm-gateway doctor
  llm-gateway doctor --model bedrock
  llm-gateway doctor --domain docs --model bedrock --json

Exit codes: 0 all is well, 1 something is wrong, 2 wrong use."#;

/// Options of `doctor`.
#[derive(Args, Clone, Debug)]
pub struct DoctorOptions {
    /// A domain of Amazon OpenSearch Service to look at. Its endpoint is searched where
    /// OPENSEARCH_DOMAIN_ENDPOINT names none.
    #[arg(long, value_name = "NAME")]
    pub domain: Option<String>,
    /// Print the findings as one line of JSON.
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    pub serve: ServeOptions,
}
