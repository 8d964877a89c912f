//! Log lines as JSON: one flat object each, for programs.
//!
//! `time` (RFC 3339, UTC), `level`, what the spans say (`service`, `server`, `connection`, `peer`, …), then `fact` and its
//! fields. A line that is no fact has `text` instead.

use std::fmt;
use tracing::{
    Event, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    fmt::{
        FmtContext, FormatEvent, FormatFields, FormattedFields,
        format::Writer,
        time::{FormatTime, SystemTime},
    },
    registry::LookupSpan,
};

/// The lines.
pub(super) struct JsonLines;

/// The fields of a span: members of an object, each with a comma before it.
pub(super) struct JsonMembers;

impl<'writer> FormatFields<'writer> for JsonMembers {
    fn format_fields<R: tracing_subscriber::field::RecordFields>(
        &self,
        writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        let mut members = Members { writer, text: "text", outcome: Ok(()) };
        fields.record(&mut members);
        members.outcome
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &tracing::span::Record<'_>,
    ) -> fmt::Result {
        self.format_fields(current.as_writer(), fields)
    }
}

impl<S> FormatEvent<S, JsonMembers> for JsonLines
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonMembers>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        writer.write_str("{\"time\":\"")?;
        SystemTime.format_time(&mut writer)?;
        write!(writer, "\",\"level\":\"{}\"", event.metadata().level())?;
        for span in context.event_scope().into_iter().flat_map(|scope| scope.from_root()) {
            if let Some(fields) = span.extensions().get::<FormattedFields<JsonMembers>>() {
                writer.write_str(fields)?;
            }
        }
        // Only facts have names of their own; others are named after their place in the source.
        let is_fact = !event.metadata().name().starts_with("event ");
        let text = if is_fact { "fact" } else { "text" };
        let mut members = Members { writer: writer.by_ref(), text, outcome: Ok(()) };
        event.record(&mut members);
        members.outcome?;
        writer.write_str("}\n")
    }
}

/// Writes fields as members.
struct Members<'w> {
    writer: Writer<'w>,
    /// The name of the text of the line.
    text: &'static str,
    outcome: fmt::Result,
}

impl Members<'_> {
    fn member(&mut self, field: &Field, value: impl fmt::Display) {
        let name = if field.name() == "message" { self.text } else { field.name() };
        if self.outcome.is_ok() {
            self.outcome = write!(self.writer, ",\"{name}\":{value}");
        }
    }

    fn text(&mut self, field: &Field, text: &str) {
        self.member(field, serde_json::Value::from(text));
    }
}

impl Visit for Members<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.text(field, &format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.text(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.member(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.member(field, value);
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.member(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.member(field, serde_json::Value::from(value));
    }
}
