//! How log lines look: JSON on standard output on Lambda, text on standard error elsewhere.

use super::emf;
use serde_json::{Map, Value};
use std::fmt::{self, Debug, Display};
use std::panic::PanicHookInfo;
use std::time::{SystemTime, UNIX_EPOCH};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::filter::{Targets, filter_fn};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormattedFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, layer::SubscriberExt, util::SubscriberInitExt};

/// Warnings of libraries, everything of ours from `info` up.
const DEFAULT_FILTER: &str = "warn,gateway=info,llm_gateway=info";

/// The target of what ends the process: no filter turns it off.
pub(super) const FATAL: &str = "gateway::fatal";

/// JSON logs on standard output, where Lambda takes them from: one object a line, which is right in
/// both log formats of a function (text passes lines on, JSON does not wrap what is JSON already).
/// Lines with metrics pass every filter. A panic ends the process, as in a release.
pub fn json_logs(filter: Option<&str>) {
    let filter = filter_of(filter).with_target(emf::TARGET, Level::INFO);
    // Only a second call can fail, and then logs are there already.
    let _already = tracing_subscriber::registry()
        .with(layer(std::io::stdout).with_filter(filter_fn(is_discreet)))
        .with(filter)
        .try_init();
    std::panic::set_hook(Box::new(|panic| {
        panicked(panic);
        // Built for tests it would unwind, and whoever waits for the task would wait for ever.
        std::process::abort();
    }));
}

/// JSON lines into this writer.
pub(super) fn layer<S, W>(writer: W) -> impl Layer<S>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    W: for<'a> MakeWriter<'a> + 'static,
{
    let lines = tracing_subscriber::fmt::layer().fmt_fields(JsonFields::new());
    lines.event_format(JsonLine).with_writer(writer)
}

/// Text logs on standard error, filtered by `LLM_GATEWAY_LOG` (default: warnings of libraries,
/// everything of ours from `info` up).
pub fn text_logs(filter: Option<&str>) {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr).with_target(false);
    // Only a second call can fail, and then logs are there already.
    let _already = tracing_subscriber::registry()
        .with(lines.with_filter(filter_fn(is_discreet)))
        .with(filter_of(filter))
        .try_init();
    std::panic::set_hook(Box::new(panicked));
}

/// A level, or `target=level` pairs behind commas; what is neither counts as unset. (`EnvFilter` can
/// do more, and brings a regular expression engine into both functions for it.)
fn filter_of(filter: Option<&str>) -> Targets {
    let asked = filter.and_then(|filter| filter.parse::<Targets>().ok());
    let filter = asked.or_else(|| DEFAULT_FILTER.parse().ok()).unwrap_or_default();
    filter.with_target(FATAL, Level::ERROR)
}

/// Below `info` libraries write out what they send and receive: no setting may ask for that.
fn is_discreet(of: &Metadata<'_>) -> bool {
    let ours = ["gateway", "llm_gateway"].contains(&of.target().split("::").next().unwrap_or_default());
    ours || *of.level() <= Level::INFO
}

/// A panic's place, and its message where that is a literal: one that was put together may quote
/// the text that was worked on.
fn panicked(panic: &PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let why = panic.payload().downcast_ref::<&'static str>();
    tracing::error!(target: FATAL, place, why, "the gateway panicked");
}

/// One JSON object: time, level, the fields of the spans around it, its own, and its metrics.
struct JsonLine;

impl<S> FormatEvent<S, JsonFields> for JsonLine
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let now_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |now| now.as_millis());
        let now_ms = u64::try_from(now_ms).unwrap_or(u64::MAX);
        let mut line = Line(Map::new());
        line.put("timestamp", rfc3339(now_ms));
        line.put("level", event.metadata().level().as_str());
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            let extensions = span.extensions();
            let fields = extensions.get::<FormattedFields<JsonFields>>();
            let fields = fields.and_then(|fields| serde_json::from_str::<Map<String, Value>>(fields).ok());
            line.0.extend(fields.unwrap_or_default());
        }
        event.record(&mut line);
        if event.metadata().target() == emf::TARGET
            && let Some(metadata) = emf::metadata(&line.0, now_ms)
        {
            line.put("_aws", metadata);
        }
        writeln!(writer, "{}", Value::Object(line.0))
    }
}

/// Lambda reads a line's time from its `timestamp`, in this form.
fn rfc3339(ms: u64) -> String {
    let time = aws_smithy_types::DateTime::from_millis(i64::try_from(ms).unwrap_or(i64::MAX));
    time.fmt(aws_smithy_types::date_time::Format::DateTime).unwrap_or_default()
}

struct Line(Map<String, Value>);

impl Line {
    fn put(&mut self, name: &str, value: impl Into<Value>) {
        self.0.insert(name.to_owned(), value.into());
    }
}

impl Visit for Line {
    fn record_f64(&mut self, field: &Field, value: f64) {
        self.put(field.name(), value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.put(field.name(), value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.put(field.name(), value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.put(field.name(), value);
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.put(field.name(), value);
    }

    fn record_error(&mut self, field: &Field, value: &(dyn std::error::Error + 'static)) {
        self.put(field.name(), (value as &dyn Display).to_string());
    }

    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.put(field.name(), format!("{value:?}"));
    }
}
