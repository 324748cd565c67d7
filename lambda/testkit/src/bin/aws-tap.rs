//! Taps as a process: `aws-tap --calls FILE NAME=HOST:PORT …`, where NAME is one of `dynamodb`, `sqs`,
//! `bedrock`, `connections` and `opensearch`. It prints one line of JSON, each name with its URL, and
//! serves until it is killed.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::Write;
use std::sync::Arc;
use testkit::tap::{Record, Service, Tap};

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some("--calls") {
        return Err("--calls FILE is needed first".into());
    }
    let record = Arc::new(Record::open(arguments.next().ok_or("--calls wants a file")?.as_ref())?);
    let mut taps = Vec::new();
    let mut urls = BTreeMap::new();
    for argument in arguments {
        let (name, to) = argument.split_once('=').ok_or("NAME=HOST:PORT is needed")?;
        let service = Service::named(name).ok_or_else(|| format!("{name}: no such service"))?;
        let tap = Tap::start(service, to.to_owned(), Arc::clone(&record)).await?;
        urls.insert(name.to_owned(), tap.url());
        taps.push(tap);
    }
    writeln!(std::io::stdout(), "{}", serde_json::to_string(&urls)?)?;
    std::future::pending().await
}
