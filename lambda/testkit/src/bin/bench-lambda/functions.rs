//! The functions that are measured, how one is started, and what it is asked.

use crate::runtime::{PATIENCE, RuntimeApi};
use crate::share::Share;
use crate::world::World;
use bytes::Bytes;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;
use testkit::bench::{Failure, Measured, beside};
use testkit::lambda::variables;
use tokio::process::Command;
use tokio::time::timeout;

/// The index that is searched.
const INDEX: &str = "bench";

/// Which door.
#[derive(Clone, Copy, PartialEq)]
pub enum Door {
    /// HTTP events, door 1.
    Rest,
    /// WebSocket events, door 2.
    Ws,
}

/// One row of the table.
pub struct Function {
    /// Its name there.
    pub name: &'static str,
    /// What it is asked.
    pub door: Door,
    /// Its program.
    pub program: PathBuf,
    /// The program's argument, where it is an interpreter.
    script: Option<PathBuf>,
    /// It has the store's two tables.
    keeps: bool,
    /// It searches in this mode.
    searches: Option<&'static str>,
}

impl Function {
    /// Is it the gateway's?
    pub fn is_ours(&self) -> bool {
        self.script.is_none()
    }
}

/// Ours and Python's, door by door; then ours with the store's tables.
pub fn all(python: &Path) -> Result<Vec<Function>, Failure> {
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("python");
    let ours = |name, door, program, keeps| {
        Ok::<_, Failure>(Function {
            name,
            door,
            program: beside(program)?,
            script: None,
            keeps,
            searches: None,
        })
    };
    let theirs = |name, door, script| {
        let script = Some(scripts.join(script));
        Function { name, door, program: python.to_owned(), script, keeps: false, searches: None }
    };
    Ok(vec![
        ours("rest", Door::Rest, "rest", false)?,
        theirs("rest in Python", Door::Rest, "rest.py"),
        ours("ws", Door::Ws, "ws", false)?,
        theirs("ws in Python", Door::Ws, "ws.py"),
        ours("rest, with tables", Door::Rest, "rest", true)?,
        ours("ws, with tables", Door::Ws, "ws", true)?,
    ])
}

/// Ours over the store's tables: without a search, and with one in each mode that has a cost of its own.
pub fn searching() -> Result<Vec<Function>, Failure> {
    let program = beside("rest")?;
    let modes = [("without a search", None), ("text", Some("text")), ("hybrid", Some("hybrid"))];
    let function = |(name, searches)| {
        let program = program.clone();
        Function { name, door: Door::Rest, program, script: None, keeps: true, searches }
    };
    Ok(modes.map(function).into())
}

/// A reply, as the client of the door would see it.
pub struct Reply {
    /// Its first text.
    pub first: Instant,
    /// Its end.
    pub end: Instant,
}

/// A process of a function.
pub struct Running {
    /// When its start began.
    pub begun: Instant,
    /// What Linux says of it.
    pub measured: Measured,
    api: RuntimeApi,
    door: Door,
}

impl Running {
    /// Starts a process, within a share of a CPU if there is one.
    pub async fn start(
        world: &World,
        function: &Function,
        share: Option<&Share>,
    ) -> Result<Running, Failure> {
        let api = RuntimeApi::start().await?;
        let mut command = match share {
            Some(share) => share.command(&function.program),
            None => Command::new(&function.program),
        };
        command.args(&function.script).env_clear().envs(variables("bench"));
        command.env("AWS_LAMBDA_RUNTIME_API", api.address.to_string());
        command.env("AWS_ENDPOINT_URL_BEDROCK_RUNTIME", world.standin.url());
        command.env("AWS_CA_BUNDLE", &world.ca_bundle).env("CALLBACK_URL", &world.callback);
        if function.keeps {
            command.env("AWS_ENDPOINT_URL_DYNAMODB", format!("https://{}", world.tables.address));
            command.env("ANSWERS_TABLE", "answers").env("STATE_TABLE", "state");
        }
        if let (Some(mode), Some(search)) = (function.searches, &world.search) {
            command.env("OPENSEARCH_DOMAIN_ENDPOINT", format!("https://{}", search.address));
            command.env("OPENSEARCH_AUTH", "iam").env("OPENSEARCH_SERVICE", "es");
            command.env("OPENSEARCH_INDEX", INDEX).env("RETRIEVAL_MODE", mode);
        }
        // A pause between two frames is chosen, not needed: it would hide what is measured.
        command.env("PUSH_INTERVAL_MS", "0");
        let begun = Instant::now();
        let measured = Measured::spawn(&mut command, &world.said)?;
        Ok(Running { begun, measured, api, door: function.door })
    }

    /// When it asked for its first event; to be called once.
    pub async fn ready(&mut self) -> Result<Instant, Failure> {
        self.api.asked().await
    }

    /// Asks one question and takes the reply.
    pub async fn ask(&mut self, world: &mut World, stream: bool) -> Result<Reply, Failure> {
        self.api.give(event(self.door, stream));
        let reply = match self.door {
            Door::Rest => self.response(stream).await,
            Door::Ws => self.frames(world).await,
        };
        reply.map_err(|error| {
            let said = std::fs::read_to_string(&world.said).unwrap_or_default();
            format!("{error}; the process said: {said}").into()
        })
    }

    async fn response(&mut self, stream: bool) -> Result<Reply, Failure> {
        let posted = self.api.posted().await?;
        let text = String::from_utf8_lossy(&posted.body);
        // Python's reply is JSON within JSON, so that quotes are escaped.
        let complete = if stream { "\"has_more_messages\":\"false\"" } else { "end_turn" };
        if !text.contains(complete) || text.contains("\"error\"") {
            return Err(format!("no answer: {text}").into());
        }
        Ok(Reply { first: posted.first, end: posted.end })
    }

    async fn frames(&mut self, world: &mut World) -> Result<Reply, Failure> {
        let mut first = None;
        loop {
            let push = timeout(PATIENCE, world.pushes.recv()).await?.ok_or("no pushes")?;
            let first = *first.get_or_insert(push.at);
            let frame: Value = serde_json::from_slice(&push.text)?;
            if !frame["error"].is_null() {
                return Err(format!("no answer: {frame}").into());
            }
            if frame["has_more_messages"] == "false" {
                self.api.posted().await?;
                return Ok(Reply { first, end: push.at });
            }
        }
    }
}

/// A new question, about 1 kB of it.
fn event(door: Door, stream: bool) -> Bytes {
    let number = uuid::Uuid::new_v4();
    let prompt = format!("Question {number}. {}", "All work and no play. ".repeat(45));
    let (template, body) = match door {
        Door::Rest => {
            let model = "anthropic.claude-v2";
            let mut event: Value = template(include_str!("../../../../../contract/events/rest.json"));
            event["path"] = format!("/{model}").into();
            event["pathParameters"]["proxy"] = model.into();
            (event, json!({"prompt": prompt, "stream": stream}))
        }
        Door::Ws => {
            let event = template(include_str!("../../../../../contract/events/ws-message.json"));
            (event, json!({"action": "sendmessage", "prompt": prompt}))
        }
    };
    let mut event = template;
    // With the ids of the event before it would be a delivery that repeats, and with its connection
    // the places of processes that were killed would be taken.
    for name in ["requestId", "messageId", "connectionId"] {
        event["requestContext"][name] = number.to_string().into();
    }
    event["body"] = body.to_string().into();
    event.to_string().into()
}

fn template(text: &str) -> Value {
    // A unit test of the emulator parses them; `null` would be answered by no function.
    serde_json::from_str(text).unwrap_or_default()
}
