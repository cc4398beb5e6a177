//! OpenTelemetry's metrics over HTTP, in protobuf or JSON: `POST /v1/metrics`, and where Prometheus has it.

use std::net::IpAddr;

use axum::{
    extract::State,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceResponse,
};
use pitcrew_ingest::otlp::{self, OtlpError, Rejected};
use prost::Message as _;

use super::{BODY_BYTES_MAX, body::unpacked, refused, store};
use crate::{
    http::{desk::Desk, problem::Problem, request::Raw},
    telemetry::{Form, Gathered, Telemetry},
};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// How a message is written; the answer is written alike.
#[derive(Clone, Copy)]
pub(super) enum Encoding {
    Protobuf,
    Json,
}

pub(crate) async fn export(
    State(desk): State<Desk>,
    raw: Raw<BODY_BYTES_MAX>,
) -> Result<Response, Problem> {
    let kind = raw.header(header::CONTENT_TYPE);
    let encoding = match kind.split(';').next().unwrap_or_default().trim() {
        PROTOBUF => Encoding::Protobuf,
        JSON => Encoding::Json,
        _ => {
            let detail = format!("send the message as {PROTOBUF} or {JSON}");
            return Err(Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, detail));
        }
    };
    let telemetry = desk.telemetry.clone();
    let decoded = desk.decoding.run(move || {
        let packed = raw.header(header::CONTENT_ENCODING);
        let message = unpacked(&raw.bytes, &packed)?;
        take(&telemetry, encoding, &message, raw.peer.0)
    });
    let answer = decoded.await?;
    Ok(match encoding {
        Encoding::Protobuf => {
            ([(header::CONTENT_TYPE, PROTOBUF)], answer.encode_to_vec()).into_response()
        }
        Encoding::Json => axum::Json(answer).into_response(),
    })
}

/// Stores a message. What of it can't be taken is told in the answer, and no reason to send it again.
pub(super) fn take(
    telemetry: &Telemetry,
    encoding: Encoding,
    message: &[u8],
    peer: IpAddr,
) -> Result<ExportMetricsServiceResponse, Problem> {
    let bytes_max = telemetry.message_bytes();
    let mut gathered = Gathered::within(bytes_max, telemetry.now_ms());
    let rejected = match encoding {
        Encoding::Protobuf => otlp::read(message, &mut gathered)?,
        Encoding::Json => otlp::read_json(message, bytes_max, &mut gathered)?,
    };
    let accepted = store(telemetry, &gathered, Form::Pairs, ("OTLP", peer))?;
    let refused = refused(&accepted, &gathered);
    Ok(ExportMetricsServiceResponse {
        partial_success: partial_success(rejected, refused),
    })
}

fn partial_success(
    rejected: Rejected,
    refused: Option<(u64, String)>,
) -> Option<ExportMetricsPartialSuccess> {
    let (refused, why) = refused.unwrap_or_default();
    let points = u64::try_from(rejected.points).unwrap_or(u64::MAX);
    let all = points.saturating_add(refused);
    let whys = [rejected.why, why];
    let whys: Vec<String> = whys.into_iter().filter(|why| !why.is_empty()).collect();
    (all > 0).then(|| ExportMetricsPartialSuccess {
        rejected_data_points: i64::try_from(all).unwrap_or(i64::MAX),
        error_message: whys.join("; "),
    })
}

impl From<OtlpError> for Problem {
    fn from(error: OtlpError) -> Self {
        let status = match error {
            OtlpError::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            _ => StatusCode::BAD_REQUEST,
        };
        Self::new(status, error.to_string())
    }
}
