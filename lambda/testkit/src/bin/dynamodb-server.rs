//! DynamoDB over HTTP on one machine, for binaries that run in other processes: the engine that the
//! gateway has in its own process, behind its own server. `dynamodb-server [--port N] [--data FILE]
//! [--tables ANSWERS,STATE]` creates the gateway's two tables, prints its URL and serves until it is
//! killed. It listens on 127.0.0.1 and keeps everything in memory unless `--data` names a file.

use dynoxide::Database;
use serde_json::{Value, json};
use std::error::Error;
use std::io::Write;
use std::net::Ipv4Addr;
use tokio::net::TcpListener;

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let port = option("--port").map_or(Ok(0), |port| port.parse())?;
    let database = option("--data").map_or_else(Database::memory, |file| Database::new(&file))?;
    let tables = option("--tables").unwrap_or_else(|| "answers,state".to_owned());
    let (answers, state) = tables.split_once(',').ok_or("--tables wants ANSWERS,STATE")?;
    create(&database, answers, &["pk"])?;
    create(&database, state, &["pk", "sk"])?;

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
    writeln!(std::io::stdout(), "http://{}", listener.local_addr()?)?;
    dynoxide::server::serve_on(listener, database).await;
    Ok(())
}

/// A table as the stack makes it: string keys, on demand, `expires_at` for its time to live.
fn create(database: &Database, name: &str, keys: &[&str]) -> Result<(), Box<dyn Error>> {
    if database.table_stats()?.iter().any(|table| table.table_name == name) {
        return Ok(());
    }
    let schema = keys.iter().zip(["HASH", "RANGE"]);
    let schema = schema.map(|(key, kind)| json!({"AttributeName": key, "KeyType": kind}));
    let attributes = keys.iter().map(|key| json!({"AttributeName": key, "AttributeType": "S"}));
    database.create_table(serde_json::from_value(json!({
        "TableName": name,
        "KeySchema": schema.collect::<Vec<Value>>(),
        "AttributeDefinitions": attributes.collect::<Vec<Value>>(),
        "BillingMode": "PAY_PER_REQUEST",
    }))?)?;
    database.update_time_to_live(serde_json::from_value(json!({
        "TableName": name,
        "TimeToLiveSpecification": {"AttributeName": "expires_at", "Enabled": true},
    }))?)?;
    Ok(())
}

/// The value behind a flag.
fn option(flag: &str) -> Option<String> {
    std::env::args().skip_while(|argument| argument != flag).nth(1)
}
