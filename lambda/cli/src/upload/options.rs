//! The command line of `upload`.

use clap::Args;
use std::path::PathBuf;

/// Shown behind the options.
pub const HELP: &str = r#"FILE is a JSON list or JSON Lines, gzip of either, or - for standard input. A row:
  {"pk": "the question", "answer": "the answer"}
or, as older systems kept them:
  {"id": "<node_id><prompt>", "responses": "{\"completion\": \"the answer\"}"}
Other keys are kept with the row. Of two rows with one key the later one stays.

Every row is checked first. Bad rows are named with their line and field and written to
FILE.failed.jsonl; the good ones are uploaded and the exit code is 1. Mend FILE.failed.jsonl and upload
it. A file that is damaged as a whole (cut-off gzip, a list without an end) is not uploaded at all.

An interrupted upload goes on with --resume.

Examples:
  llm-gateway upload answers.json -t llm-gateway-answers --dry-run
  llm-gateway upload answers.json -t llm-gateway-answers
  zcat answers.jsonl.gz | llm-gateway upload - -t llm-gateway-answers
  llm-gateway upload answers.json --data .llm-gateway

Exit codes: 0 all rows are uploaded (or good, with --dry-run), 1 some are not, 2 wrong use."#;

/// Options of `upload`.
#[derive(Args, Clone, Debug)]
pub struct UploadOptions {
    /// Curated answers; - reads standard input.
    pub file: PathBuf,
    /// The DynamoDB table to upload to. Default: the setting ANSWERS_TABLE.
    #[arg(short, long, value_name = "TABLE", conflicts_with = "data")]
    pub table: Option<String>,
    #[arg(long, env = "ANSWERS_TABLE", hide = true)]
    pub answers_table: Option<String>,
    /// The table where parts of rows go that one item cannot hold (over 300 KB compressed).
    #[arg(long, value_name = "TABLE", env = "STATE_TABLE")]
    pub state_table: Option<String>,
    /// The table's region. Default: AWS_REGION, or the one of AWS's own settings.
    #[arg(long, value_name = "REGION", env = "REGION_ID")]
    pub region: Option<String>,
    #[arg(long, env = "AWS_CA_BUNDLE", hide = true)]
    pub ca_bundle: Option<String>,
    /// Upload to the data directory of this machine's gateway instead, while it is stopped.
    #[arg(long, value_name = "DIR")]
    pub data: Option<PathBuf>,
    /// Check every row and write nothing. Needs no credentials.
    #[arg(long)]
    pub dry_run: bool,
    /// Go on where an interrupted upload of the same file stopped.
    #[arg(long)]
    pub resume: bool,
    /// Where FILE.failed.jsonl and FILE.upload-state go. Default: beside FILE.
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<PathBuf>,
    /// Print the summary as one line of JSON on standard output.
    #[arg(long)]
    pub json: bool,
    /// Batches in flight at once.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u8).range(1..=64))]
    pub parallel: u8,
    /// How long the table may take nothing before the upload stops.
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    pub patience: u64,
}

impl UploadOptions {
    /// The table; an empty setting is an unset one.
    pub fn table(&self) -> Option<String> {
        filled(&self.table).or_else(|| filled(&self.answers_table))
    }

    /// A file of this upload's own: beside FILE or in the state directory.
    pub fn beside(&self, ending: &str) -> PathBuf {
        let named = self.file.file_name().filter(|_| self.file.as_os_str() != "-");
        let mut name = named.unwrap_or("stdin".as_ref()).to_owned();
        name.push(ending);
        match &self.state_dir {
            Some(dir) => dir.join(name),
            None => self.file.with_file_name(name),
        }
    }
}

/// None where it is empty: `export $(cat .env | xargs)` sets empty strings.
pub fn filled(text: &Option<String>) -> Option<String> {
    text.clone().filter(|text| !text.trim().is_empty())
}
