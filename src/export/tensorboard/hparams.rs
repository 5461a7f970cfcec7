//! Hyperparameters, for the plug-in that compares runs by them.

use prost::Message as _;
use serde_json::Value as Json;

use super::messages::{
    Content, Dimension, Kind, Metadata, Moment, Plugin, Session, SessionEnd, SessionStart, Setting, Shape, Tensor,
    Value,
};
use super::now;

/// The settings with which a run begins.
pub(crate) fn session_start(settings: Vec<(String, Json)>) -> Value {
    let setting = |(key, value)| {
        let kind = match value {
            Json::Bool(value) => Kind::Bool(value),
            Json::Number(number) => Kind::Number(number.as_f64().unwrap_or(f64::NAN)),
            Json::String(text) => Kind::Text(text),
            list => Kind::Text(list.to_string()),
        };
        (key, Setting { kind: Some(kind) })
    };
    let start = SessionStart { settings: settings.into_iter().map(setting).collect(), seconds: now() };
    value("session_start_info", Moment::Start(start))
}

/// That a run has ended, and whether well.
pub(crate) fn session_end(is_success: bool) -> Value {
    let status = if is_success { SessionEnd::SUCCESS } else { SessionEnd::FAILURE };
    value("session_end_info", Moment::End(SessionEnd { status, seconds: now() }))
}

/// The plug-in reads the metadata; the tensor that every value must have is one of no elements.
fn value(name: &str, moment: Moment) -> Value {
    let content = Session { moment: Some(moment) }.encode_to_vec();
    let nothing = Tensor { kind: Tensor::F32, shape: Some(Shape { dimensions: vec![Dimension { size: 0 }] }) };
    Value {
        metadata: Some(Metadata { plugin: Some(Plugin { name: "hparams".into(), content }) }),
        ..Value::new(format!("_hparams_/{name}"), Content::Tensor(nothing))
    }
}
