//! The command line of `index`.

use clap::Args;
use std::path::PathBuf;

/// Shown behind the options.
pub const HELP: &str = r#"A PATH is a file or a directory, of which every file is read that is not hidden: Markdown (.md), plain text
(.txt, .rst, .adoc), HTML (.html), PDF (.pdf) and JSON Lines (.jsonl, .ndjson; .json where it is named, and
gzip of these). - reads JSON Lines from standard input. A row of JSON Lines:
  {"text": "…", "title": "…", "source": "https://…", "id": "…", "metadata": {"lang": "en"}}
Only `text` is necessary; filters find what `metadata` says.

Passages go to the OpenSearch of OPENSEARCH_DOMAIN_ENDPOINT, or without one into this machine's index, where
`llm-gateway serve` finds them. Indexing the same files again embeds only what is new. A changed file's
passages are replaced, or stay where a new one is refused; those of files that are gone stay until --prune. An
interrupted run goes on when the same command is run again. A file is known by its path as it is given here:
two directories of documents that are indexed by the same names, such as `docs`, replace (and with --prune
remove) each other's passages. Give them other names, or an index each.

Examples:
  llm-gateway index docs handbook.pdf --dry-run
  llm-gateway index docs handbook.pdf
  OPENSEARCH_DOMAIN_ENDPOINT=https://search-docs-abc.us-east-1.es.amazonaws.com llm-gateway index docs --prune
  llm-gateway index docs --domain docs
  zcat export.jsonl.gz | llm-gateway index -

Exit codes: 0 everything is indexed (or could be, with --dry-run), 1 something is not, 2 wrong use."#;

/// Options of `index`.
#[derive(Args, Clone, Debug)]
pub struct IndexOptions {
    /// Files and directories; - reads JSON Lines from standard input.
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The OpenSearch index. Default: OPENSEARCH_INDEX, or llm-gateway.
    #[arg(long, value_name = "NAME", conflicts_with = "data")]
    pub index: Option<String>,
    /// The domain of Amazon OpenSearch Service to write to: its endpoint is asked for, in the place of
    /// OPENSEARCH_DOMAIN_ENDPOINT.
    #[arg(long, value_name = "NAME", conflicts_with = "data")]
    pub domain: Option<String>,
    /// Write this machine's index in this directory, even where OPENSEARCH_DOMAIN_ENDPOINT is set.
    /// Default: .llm-gateway.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Remove the passages of files below the PATHs that are not there any more.
    #[arg(long)]
    pub prune: bool,
    /// Read everything, say what would change and what it would cost, and write nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// The model that makes the vectors. Default: EMBEDDINGS_MODEL, or Titan with OpenSearch and the
    /// built-in one without.
    #[arg(long, value_name = "ID")]
    pub embeddings_model: Option<String>,
    /// Print the summary as one line of JSON on standard output.
    #[arg(long)]
    pub json: bool,
    /// How long OpenSearch or the model may take nothing before the run stops.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub patience: u64,
}
