//! The emulator as a process. It prints one line of JSON with its URLs when it is ready, and on
//! SIGTERM or SIGINT it kills its children and exits.

use std::error::Error;
use std::io::Write;
use std::time::Duration;
use testkit::lambda::{Emulator, Options, Source};
use tokio::signal::unix::{SignalKind, signal};

const USAGE: &str = "lambda-emulator --rest PATH --ws PATH
  --concurrency N        execution environments of one function (10)
  --env K=V              for every child; repeatable
  --api-key NAME=KEY     a key is needed; repeatable
  --bearer-keys          the key is what the authorizer gives as usageIdentifierKey
  --iam                  requests must be signed; the access key is the caller
  --signed-by KEY        requests without a signature count as signed with this access key
  --queue SERVER,URL     the worker's queue, on a server of SQS's protocol at HOST:PORT
  --no-freeze            idle children are not stopped
  --role-variable NAME   tells the rest binary its role (ROLE)
  --authorizer-role V    its value for the authorizer (authorizer)
  --worker-role V        its value for SQS events (worker)
  --timeout-s N          a function's time for one invocation (900)
  --integration-ms N     a WebSocket integration's time (29000)
  --silence-ms N         a streamed reply's longest silence (300000)
  --idle-ms N            a WebSocket connection's longest silence (600000)
  --connection-ms N      a WebSocket connection's life (7200000)
  --patience-ms N        wait for a free environment before 429 (100)
  --visibility-ms N      a received SQS message is hidden (5400000)
  --max-receives N       then it is a dead letter (3)
  --ports R,U,W,C        REST, function URL, WebSocket, control (0,0,0,0)
";

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.iter().any(|argument| argument == "--help") {
        write!(std::io::stdout(), "{USAGE}")?;
        return Ok(());
    }
    let emulator = Emulator::start(parse(arguments)?)?;
    writeln!(std::io::stdout(), "{}", serde_json::to_string(emulator.urls())?)?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    emulator.stop().await;
    Ok(())
}

fn parse(arguments: Vec<String>) -> Result<Options, Box<dyn Error>> {
    let mut options = Options::default();
    let mut rest = arguments.into_iter();
    while let Some(flag) = rest.next() {
        match flag.as_str() {
            "--bearer-keys" => options.bearer_keys = true,
            "--iam" => options.iam = true,
            "--no-freeze" => options.freeze = false,
            _ => {
                let value = rest.next().ok_or_else(|| format!("{flag}: a value is needed, see --help"))?;
                valued(&mut options, &flag, value).map_err(|error| format!("{flag}: {error}"))?;
            }
        }
    }
    Ok(options)
}

fn valued(options: &mut Options, flag: &str, value: String) -> Result<(), Box<dyn Error>> {
    let limits = &mut options.limits;
    match flag {
        "--rest" => options.rest = Some(value.into()),
        "--ws" => options.ws = Some(value.into()),
        "--concurrency" => options.concurrency = value.parse()?,
        "--env" => options.env.push(pair(&value)?),
        "--queue" => {
            let (server, url) = value.split_once(',').ok_or("SERVER,URL is needed")?;
            options.queue = Some(Source { server: server.to_owned(), url: url.to_owned() });
        }
        "--signed-by" => options.signer = Some(value),
        "--api-key" => options.api_keys.push(pair(&value)?),
        "--role-variable" => options.role_variable = value,
        "--authorizer-role" => options.authorizer_role = value,
        "--worker-role" => options.worker_role = value,
        "--timeout-s" => limits.function = Duration::from_secs(value.parse()?),
        "--integration-ms" => limits.integration = millis(&value)?,
        "--silence-ms" => limits.silence = millis(&value)?,
        "--idle-ms" => limits.idle = millis(&value)?,
        "--connection-ms" => limits.connection = millis(&value)?,
        "--patience-ms" => limits.patience = millis(&value)?,
        "--visibility-ms" => limits.visibility = millis(&value)?,
        "--max-receives" => limits.max_receives = value.parse()?,
        "--ports" => {
            let ports = value.split(',').map(str::parse).collect::<Result<Vec<u16>, _>>()?;
            options.ports = ports.try_into().map_err(|_| "four ports are needed")?;
        }
        _ => return Err("no such option, see --help".into()),
    }
    Ok(())
}

fn pair(text: &str) -> Result<(String, String), Box<dyn Error>> {
    let (name, value) = text.split_once('=').ok_or("NAME=VALUE is needed")?;
    Ok((name.to_owned(), value.to_owned()))
}

fn millis(text: &str) -> Result<Duration, Box<dyn Error>> {
    Ok(Duration::from_millis(text.parse()?))
}
