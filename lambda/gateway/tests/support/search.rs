//! A server that stands where OpenSearch would: over sockets, so that it can fail as one does.
#![allow(dead_code)]

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::Write;
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Method and path with query.
    pub line: String,
    /// Lower-case names and values.
    pub headers: Vec<(String, String)>,
    pub body: String,
    /// Which connection brought it, counted from 0.
    pub connection: usize,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    /// Is it a search for passages, and not for the state?
    pub fn is_search(&self) -> bool {
        self.line.contains("/_search") && !self.body.contains("_seq_no")
    }
}

/// What comes back.
#[derive(Clone, Debug)]
pub enum Said {
    /// A reply, packed where the client takes it so.
    Reply(u16, String),
    /// A reply with this header.
    With(u16, (&'static str, &'static str), String),
    /// A reply that says that it is packed and is not.
    Garbled,
    /// Half of a reply, and then the connection is closed.
    Half,
    /// The connection is closed, and nothing said.
    Reset,
    /// Nothing, and the connection stays.
    Stall,
}

impl Said {
    pub fn ok(body: &Value) -> Said {
        Said::Reply(200, body.to_string())
    }

    /// A refusal as OpenSearch words it, quoting what it was asked.
    pub fn refusal(status: u16, name: &str, reason: &str) -> Said {
        let root = json!([{ "type": name, "reason": reason }]);
        Said::Reply(
            status,
            json!({ "error": { "root_cause": root, "type": name, "reason": reason } }).to_string(),
        )
    }
}

/// Passages as a search finds them, with their scores, best first.
pub fn hits(found: &[(&str, f64)]) -> Value {
    let hit = |(text, score): &(&str, f64)| {
        let source = json!({ "text": text, "metadata": { "source": format!("{text}.md"), "first_line": 1, "last_line": 2 } });
        json!({ "_index": "docs", "_id": text, "_score": score, "_source": source })
    };
    json!({ "timed_out": false, "hits": { "hits": found.iter().map(hit).collect::<Vec<_>>() } })
}

type Plan = Box<dyn FnMut(&Asked) -> Said + Send>;

struct Scene {
    plan: Mutex<Plan>,
    asked: Mutex<Vec<Asked>>,
}

/// The server. It goes with this.
pub struct Server {
    pub url: String,
    scene: Arc<Scene>,
    accepting: JoinHandle<()>,
}

impl Server {
    /// A server that answers by this plan.
    pub async fn new(plan: impl FnMut(&Asked) -> Said + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let scene = Arc::new(Scene { plan: Mutex::new(Box::new(plan)), asked: Mutex::default() });
        let accepting = tokio::spawn(accept(listener, scene.clone()));
        Server { url, scene, accepting }
    }

    /// From now on it answers by this plan.
    pub fn plan(&self, plan: impl FnMut(&Asked) -> Said + Send + 'static) {
        *self.scene.plan.lock().unwrap() = Box::new(plan);
    }

    /// What it was asked since it was last asked for.
    pub fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut self.scene.asked.lock().unwrap())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, scene: Arc<Scene>) {
    let mut connections = tokio::task::JoinSet::new();
    for connection in 0.. {
        let Ok((socket, _)) = listener.accept().await else { return };
        let scene = scene.clone();
        connections.spawn(async move {
            let mut socket = BufReader::new(socket);
            while let Some(asked) = read(&mut socket, connection).await {
                let said = (scene.plan.lock().unwrap())(&asked);
                let packs = asked.header("accept-encoding").is_some_and(|coding| coding.contains("gzip"));
                scene.asked.lock().unwrap().push(asked);
                if !say(socket.get_mut(), said, packs).await {
                    return;
                }
            }
        });
    }
}

async fn read(socket: &mut BufReader<TcpStream>, connection: usize) -> Option<Asked> {
    let mut line = String::new();
    if socket.read_line(&mut line).await.ok()? == 0 {
        return None;
    }
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        socket.read_line(&mut header).await.ok()?;
        let Some((name, value)) = header.trim_end().split_once(':') else { break };
        headers.push((name.to_lowercase(), value.trim().to_owned()));
    }
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let mut body = vec![0; length.map_or(0, |(_, length)| length.parse().unwrap())];
    socket.read_exact(&mut body).await.ok()?;
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    Some(Asked { line, headers, body: String::from_utf8(body).unwrap(), connection })
}

/// Says it; false where the connection is closed then.
async fn say(socket: &mut TcpStream, said: Said, packs: bool) -> bool {
    let (status, header, body) = match said {
        Said::Reply(status, body) => (status, None, body),
        Said::With(status, header, body) => (status, Some(header), body),
        Said::Garbled => (200, Some(("content-encoding", "gzip")), "{\"hits\":{\"hits\":[]}}".to_owned()),
        Said::Half => {
            let half = "HTTP/1.1 200 OK\r\ncontent-length: 500\r\n\r\n{\"hits\":{\"hits\":[";
            let _gone = socket.write_all(half.as_bytes()).await;
            return false;
        }
        Said::Reset => return false,
        Said::Stall => return std::future::pending().await,
    };
    let packs = packs && header.is_none_or(|(name, _)| name != "content-encoding");
    let mut bytes = body.into_bytes();
    let mut head = format!("HTTP/1.1 {status} Said\r\n");
    if let Some((name, value)) = header {
        head += &format!("{name}: {value}\r\n");
    }
    if packs {
        let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
        packer.write_all(&bytes).unwrap();
        bytes = packer.finish().unwrap();
        head += "content-encoding: gzip\r\n";
    }
    head += &format!("content-type: application/json\r\ncontent-length: {}\r\n\r\n", bytes.len());
    let sent = [head.into_bytes(), bytes].concat();
    socket.write_all(&sent).await.is_ok()
}
