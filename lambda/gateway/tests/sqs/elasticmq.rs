//! ElasticMQ, a server of SQS's protocol, on a free port of loopback. `scripts/fetch-elasticmq` has
//! put its jars under the target directory.

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region, SharedCredentialsProvider};
use aws_sdk_sqs::types::QueueAttributeName;
use aws_types::SdkConfig;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tokio::sync::OnceCell;

/// Kept for all tests of a process. Its standard input closes with that, which ends the server.
static SERVER: OnceCell<(Child, String)> = OnceCell::const_new();

/// The server ends when the shell's standard input does.
const WATCHED: &str = "java \"$@\" & server=$!; read _; kill $server";

/// Settings for a client of the server, which is started where it is not yet.
pub async fn config() -> SdkConfig {
    let (_, url) = SERVER.get_or_init(start).await;
    config_of(url)
}

/// Settings for a client of whatever listens at this URL.
pub fn config_of(url: &str) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::v2026_01_12())
        .region(Region::from_static("us-east-1"))
        .credentials_provider(SharedCredentialsProvider::new(Credentials::new(
            "test", "test", None, None, "test",
        )))
        .http_client(gateway::aws::http_client(None).unwrap())
        .endpoint_url(url)
        .build()
}

/// A client of the tests' own, and the URL of a new queue that delivers for ever.
pub async fn plain_queue() -> (Client, String) {
    let (client, ..) = queue(1).await;
    let name = format!("plain-{}", gateway::chat::new_id());
    let made = client.create_queue().queue_name(name).send().await.unwrap();
    (client, made.queue_url.unwrap())
}

/// A client of the tests' own, and the URL of a new queue; after so many receives its messages go to
/// a queue of dead letters, whose URL is the third.
pub async fn queue(max_receives: u32) -> (Client, String, String) {
    let config = config().await;
    let builder = aws_sdk_sqs::config::Builder::from(&config).retry_config(RetryConfig::standard());
    let client = Client::from_conf(builder.build());
    let name = format!("jobs-{}", gateway::chat::new_id());
    let dead = client.create_queue().queue_name(format!("{name}-dead")).send().await.unwrap();
    let dead = dead.queue_url.unwrap();
    let ask = client.get_queue_attributes().queue_url(&dead).attribute_names(QueueAttributeName::QueueArn);
    let arn = ask.send().await.unwrap().attributes.unwrap()[&QueueAttributeName::QueueArn].clone();
    let policy = serde_json::json!({ "deadLetterTargetArn": arn, "maxReceiveCount": max_receives });
    let create = client.create_queue().queue_name(name);
    let create = create.attributes(QueueAttributeName::RedrivePolicy, policy.to_string());
    let url = create.send().await.unwrap().queue_url.unwrap();
    (client, url, dead)
}

async fn start() -> (Child, String) {
    let jars = Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("elasticmq");
    assert!(jars.is_dir(), "{} is not there: run scripts/fetch-elasticmq {0}", jars.display());
    let java = Command::new("java").arg("-version").stderr(Stdio::null()).status();
    assert!(java.is_ok_and(|status| status.success()), "ElasticMQ needs Java 17 or later as `java`");
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Command::new("sh")
        .args(["-c", WATCHED, "sh", "-Xmx64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"])
        .args([format!("-Dnode-address.port={port}"), format!("-Drest-sqs.bind-port={port}")])
        .args(["-Dnode-address.host=127.0.0.1", "-Drest-sqs.bind-hostname=127.0.0.1"])
        .args(["-Drest-stats.enabled=false", "-cp", &format!("{}/*", jars.display())])
        .arg("org.elasticmq.server.Main")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let url = format!("http://127.0.0.1:{port}");
    let client = Client::new(&config_of(&url));
    let begun = Instant::now();
    while client.list_queues().send().await.is_err() {
        assert!(begun.elapsed() < Duration::from_secs(60), "ElasticMQ did not start");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    (server, url)
}
