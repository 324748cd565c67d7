//! What is measured: the stand-in itself, nginx in front of it, and the gateway in its variants.

use crate::client::Ask;
use crate::process::Process;
use serde_json::{Value, json};
use std::fs::write;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::atomic::{AtomicU64, Ordering};
use testkit::bench::{Failure, Scratch, beside};
use tokio::process::Command;

/// One row of the table.
pub struct Target {
    /// Its name there.
    pub name: String,
    /// The process that answers.
    pub process: Rc<Process>,
    /// Nobody measures the process of another row twice.
    pub owns_process: bool,
    talk: Talk,
}

/// How a target is asked.
#[derive(Clone, Copy, PartialEq)]
enum Talk {
    /// As Bedrock is.
    Converse,
    /// Door 1, a new question each time.
    Ask,
    /// Door 1, a new question in a new conversation each time.
    InChat,
    /// Door 1, the same question each time.
    Repeat,
}

static COUNTER: AtomicU64 = AtomicU64::new(0);

impl Target {
    fn new(name: String, process: Process, talk: Talk) -> Target {
        Target { name, process: Rc::new(process), owns_process: true, talk }
    }

    /// Is it the gateway?
    pub fn is_gateway(&self) -> bool {
        self.talk != Talk::Converse
    }

    /// The next request: 1 kB of prompt.
    pub fn ask(&self, stream: bool) -> Ask {
        self.ask_with(stream, "")
    }

    /// The next request, with a directive for the stand-in in its prompt.
    pub fn ask_with(&self, stream: bool, directive: &str) -> Ask {
        let number = match self.talk {
            Talk::Repeat => 0,
            _ => COUNTER.fetch_add(1, Ordering::Relaxed) + 1,
        };
        let prompt = format!("Question {number}. {}{directive}", "All work and no play. ".repeat(45));
        if self.talk == Talk::Converse {
            let operation = if stream { "converse-stream" } else { "converse" };
            let messages = json!([{"role": "user", "content": [{"text": prompt}]}]);
            let body = json!({"messages": messages, "inferenceConfig": {"maxTokens": 512}});
            return Ask { path: format!("/model/bench/{operation}"), body: body.to_string() };
        }
        let mut body = json!({"prompt": prompt, "stream": stream});
        if self.talk == Talk::InChat {
            body["chat_id"] = format!("bench-{number}").into();
        }
        Ask { path: format!("/{}", default_model()), body: body.to_string() }
    }
}

fn default_model() -> String {
    let catalog = include_str!("../../../../gateway/src/model/catalog.json");
    let catalog: Value = serde_json::from_str(catalog).unwrap_or_default();
    catalog["default"].as_str().unwrap_or_default().to_owned()
}

/// A gateway to start.
pub struct Setup<'a> {
    /// Its program.
    pub program: &'a Path,
    /// A Bedrock API key instead of SigV4.
    pub bearer: bool,
    /// Cache and conversations on.
    pub store: bool,
}

/// Starts everything: this build of the gateway in all variants and `others` in two.
pub async fn start(scratch: &Scratch, others: &[PathBuf]) -> Result<Vec<Target>, Failure> {
    std::fs::create_dir_all(scratch.0.join("documents"))?;
    let standin =
        Process::start(Command::new(beside("bedrock-standin")?), &scratch.0.join("standin")).await?;
    let upstream = standin.address;
    let mut targets = vec![Target::new("direct".to_owned(), standin, Talk::Converse)];
    if let Some(nginx) = nginx(scratch, upstream).await? {
        targets.push(Target::new("nginx, bare hop".to_owned(), nginx, Talk::Converse));
    }
    let program = beside("llm-gateway")?;
    let sigv4 = Setup { program: &program, bearer: false, store: false };
    let sigv4 = gateway(scratch, upstream, sigv4).await?;
    targets.push(Target::new("gateway, SigV4".to_owned(), sigv4, Talk::Ask));
    for program in [&program].into_iter().chain(others) {
        let label = if others.is_empty() { String::new() } else { format!(" ({})", program.display()) };
        let plain = gateway(scratch, upstream, Setup { program, bearer: true, store: false }).await?;
        targets.push(Target::new(format!("gateway, bearer{label}"), plain, Talk::Ask));
        let keeping = gateway(scratch, upstream, Setup { program, bearer: true, store: true }).await?;
        let keeping = Target::new(format!("gateway, cache and chat{label}"), keeping, Talk::InChat);
        let process = keeping.process.clone();
        targets.push(keeping);
        let name = format!("gateway, cached answer{label}");
        targets.push(Target { name, process, owns_process: false, talk: Talk::Repeat });
    }
    Ok(targets)
}

/// Starts a gateway in front of `upstream`, without documents.
pub async fn gateway(scratch: &Scratch, upstream: SocketAddr, setup: Setup<'_>) -> Result<Process, Failure> {
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    let mut command = Command::new(setup.program);
    // The environment of the one who measures must not change what is measured.
    command.env_clear().args(["--port", "0", "--model", "bedrock"]);
    command.arg("--documents").arg(scratch.0.join("documents"));
    if setup.store {
        command.arg("--data").arg(scratch.0.join(format!("data-{number}")));
    } else {
        command.arg("--no-store");
    }
    command.env("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", format!("http://{upstream}"));
    command.env("AWS_REGION", "us-east-1").env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE").env("AWS_SECRET_ACCESS_KEY", "for the stand-in only");
    if setup.bearer {
        command.env("AWS_BEARER_TOKEN_BEDROCK", "for-the-stand-in-only");
    }
    Process::start(command, &scratch.0.join(format!("gateway-{number}"))).await
}

/// nginx as a bare hop, where there is one. One process, without a log, nothing buffered.
async fn nginx(scratch: &Scratch, upstream: SocketAddr) -> Result<Option<Process>, Failure> {
    if std::process::Command::new("nginx").arg("-v").stderr(std::process::Stdio::null()).status().is_err() {
        return Ok(None);
    }
    let dir = scratch.0.join("nginx");
    std::fs::create_dir_all(&dir)?;
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let paths = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"];
    let paths: String =
        paths.iter().map(|name| format!("{name}_temp_path {};", dir.join(name).display())).collect();
    let file = dir.join("nginx.conf");
    let conf = format!(
        "daemon off; master_process off; pid {pid}; error_log stderr;
         events {{ worker_connections 4096; }}
         http {{ access_log off; {paths} keepalive_requests 10000000;
           upstream standin {{ server {upstream}; keepalive 128; keepalive_requests 10000000; }}
           server {{ listen {address}; location / {{
             proxy_pass http://standin; proxy_http_version 1.1; proxy_set_header Connection \"\";
             proxy_buffering off; proxy_request_buffering off; }} }} }}",
        pid = dir.join("pid").display(),
    );
    write(&file, conf)?;
    let mut command = Command::new("nginx");
    command.arg("-p").arg(&dir).arg("-e").arg("stderr").arg("-c").arg(&file);
    Ok(Some(Process::start_at(command, &dir.join("said"), address).await?))
}
