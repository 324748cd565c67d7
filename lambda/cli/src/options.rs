//! The command line.

use crate::doctor::{self, DoctorOptions};
use crate::index::{self, IndexOptions};
use crate::upload::{self, UploadOptions};
use clap::{Args, Parser, Subcommand};
use std::net::IpAddr;
use std::path::PathBuf;

/// LLM Gateway on one machine.
#[derive(Parser)]
#[command(name = "llm-gateway", version, args_conflicts_with_subcommands = true)]
#[command(after_help = "Example:\n  llm-gateway --documents ./docs --port 9000")]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    serve: ServeOptions,
}

/// What the command can do.
#[derive(Subcommand)]
pub enum Command {
    /// Serve every door on one port. The default.
    #[command(after_help = "Example:\n  llm-gateway serve --model bedrock --api-key alice=SECRET")]
    Serve(Box<ServeOptions>),
    /// Upload curated answers into DynamoDB, or into this machine's store.
    #[command(after_help = upload::HELP)]
    Upload(Box<UploadOptions>),
    /// Load documents into retrieval: OpenSearch, or this machine's index.
    #[command(after_help = index::HELP)]
    Index(Box<IndexOptions>),
    /// Take the text out of a PDF: a process of `index`'s own.
    #[command(hide = true, name = index::pdf::COMMAND)]
    PdfText,
    /// Look whether everything that `serve` needs is there and as it has to be.
    #[command(after_help = doctor::HELP)]
    Doctor(Box<DoctorOptions>),
}

impl Cli {
    /// The command given, or `serve`.
    pub fn command(self) -> Command {
        self.command.unwrap_or_else(|| Command::Serve(Box::new(self.serve)))
    }
}

/// Options of `serve`. The settings of `template.env` are read from the environment besides.
#[derive(Args, Clone, Debug)]
pub struct ServeOptions {
    /// Address to listen on. Anything but loopback needs keys.
    #[arg(long, default_value = "127.0.0.1", env = "LLM_GATEWAY_HOST")]
    pub host: IpAddr,
    /// Port to listen on; 0 picks one and prints it.
    #[arg(long, default_value_t = 8080, env = "LLM_GATEWAY_PORT")]
    pub port: u16,
    /// Where conversations, answers and jobs are kept, unless ANSWERS_TABLE and STATE_TABLE are set.
    #[arg(long, value_name = "DIR", default_value = ".llm-gateway", env = "LLM_GATEWAY_DATA")]
    pub data: PathBuf,
    /// Keep nothing: no answer cache, no conversations, no jobs, no resume of ended replies.
    #[arg(long, env = "LLM_GATEWAY_NO_STORE")]
    pub no_store: bool,
    /// Text, Markdown and HTML files to answer from. Default: the gateway's own documents.
    #[arg(long, value_name = "DIR", env = "LLM_GATEWAY_DOCUMENTS")]
    pub documents: Option<PathBuf>,
    /// Curated answers to load: a JSON list or JSON Lines of {"pk": question, "answer": …}.
    #[arg(long, value_name = "FILE", env = "LLM_GATEWAY_ANSWERS")]
    pub answers: Option<PathBuf>,
    /// What answers: `extractive` quotes the documents, `bedrock` asks Amazon Bedrock,
    /// `script:FILE` plays a file.
    #[arg(long, default_value = "extractive", env = "LLM_GATEWAY_MODEL", value_parser = parse_model)]
    pub model: ModelOption,
    /// A web page's origin that may call, besides the gateway's own. Repeatable.
    #[arg(long, value_name = "ORIGIN", env = "LLM_GATEWAY_ALLOW_ORIGIN", value_delimiter = ',')]
    pub allow_origin: Vec<String>,
    /// A host name that requests may be addressed to. Repeatable.
    #[arg(long, value_name = "HOST", env = "LLM_GATEWAY_ALLOW_HOST", value_delimiter = ',')]
    pub allow_host: Vec<String>,
    /// A caller's key; with one, every request needs one. Repeatable.
    #[arg(
        long,
        value_name = "NAME=KEY",
        env = "LLM_GATEWAY_API_KEY",
        value_delimiter = ',',
        hide_env_values = true
    )]
    pub api_key: Vec<String>,
}

/// The value of `--model`.
#[derive(Clone, Debug, PartialEq)]
pub enum ModelOption {
    /// Quotes the documents.
    Extractive,
    /// Asks Amazon Bedrock.
    Bedrock,
    /// Plays a script.
    Script(PathBuf),
}

fn parse_model(text: &str) -> Result<ModelOption, String> {
    match text.split_once(':') {
        None if text == "extractive" => Ok(ModelOption::Extractive),
        None if text == "bedrock" => Ok(ModelOption::Bedrock),
        Some(("script", file)) if !file.is_empty() => Ok(ModelOption::Script(PathBuf::from(file))),
        _ => Err("use extractive, bedrock or script:FILE".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_without_a_word_serves() {
        let Command::Serve(options) = Cli::parse_from(["llm-gateway", "--port", "0"]).command() else {
            panic!("it does something else");
        };
        assert_eq!((options.port, options.model), (0, ModelOption::Extractive));
    }

    #[test]
    fn a_model_is_one_of_three() {
        assert_eq!(parse_model("script:a.json"), Ok(ModelOption::Script("a.json".into())));
        assert!(parse_model("gpt").is_err() && parse_model("script:").is_err());
    }
}
