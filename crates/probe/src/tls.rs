//! The TLS test: is the chain good, is it for this name, and how long does it last.
//!
//! The handshake accepts any certificate, so that a bad one can be shown; the chain is judged after it,
//! by the same verifier that every other TLS test uses.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use pitcrew_model::{TlsOptions, TlsTest, format_duration};
use rustls::pki_types::{CertificateDer, UnixTime};
use x509_parser::parse_x509_certificate;

use crate::{Answer, Question, connect, trust, trust::Protocols};

pub(crate) async fn ask(question: &Question<'_>, test: &TlsTest) -> Answer {
    match examine(question, test).await {
        Ok(answer) | Err(answer) => answer,
    }
}

async fn examine(question: &Question<'_>, test: &TlsTest) -> Result<Answer, Answer> {
    let authorities = connect::authorities(question, &test.options).await?;
    let host = question.host()?;
    let anyone = TlsOptions {
        insecure: true,
        ..test.options.clone()
    };
    let stream = connect::to_host(question, host, question.port(test.port)?).await?;
    let stream = connect::tls(question, stream, host, &anyone, Protocols::Unnamed).await?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let Some((first, others)) = chain.split_first() else {
        return Err(Answer::fail("the peer shows no certificate"));
    };
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_err(|_| Answer::unknown("this machine's clock is before 1970"))?;
    let name = connect::server_name(&test.options, host)?;
    let unix_time = UnixTime::since_unix_epoch(now);
    if let Err(error) =
        authorities
            .verifier()
            .verify_server_cert(first, others, &name, &[], unix_time)
    {
        let whose =
            Expiry::of(first).map_or_else(String::new, |leaf| format!(" ({})", leaf.subject));
        return Err(Answer::fail(format!("{}{whose}", trust::words(&error))));
    }
    let first_to_expire = first_to_expire(chain, now, test.options.insecure)
        .ok_or_else(|| Answer::fail("the peer's certificate can't be read"))?;
    Ok(first_to_expire.judge(now, test))
}

struct Expiry {
    subject: String,
    /// Since 1970.
    at: Duration,
}

impl Expiry {
    fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let (_, certificate) = parse_x509_certificate(certificate).ok()?;
        let at_secs = certificate.validity().not_after.timestamp();
        Some(Self {
            subject: certificate.subject().to_string(),
            at: Duration::from_secs(u64::try_from(at_secs).unwrap_or(0)),
        })
    }

    fn judge(&self, now: Duration, test: &TlsTest) -> Answer {
        let Some(left) = self.at.checked_sub(now) else {
            return Answer::fail(format!("{}, expired", self.subject));
        };
        let text = format!("{}, {} left", self.subject, in_words(left));
        if left <= test.fail_before {
            let wanted = format_duration(test.fail_before);
            Answer::fail(format!("{text}, wanted more than {wanted}"))
        } else if left <= test.warn_before {
            let wanted = format_duration(test.warn_before);
            Answer::warn(format!("{text}, wanted more than {wanted}"))
        } else {
            Answer::pass(text)
        }
    }
}

/// A certificate that has expired although the chain is good is not part of the path: servers go on
/// sending old cross-signed roots.
fn first_to_expire(
    chain: &[CertificateDer<'_>],
    now: Duration,
    count_expired: bool,
) -> Option<Expiry> {
    chain
        .iter()
        .filter_map(Expiry::of)
        .filter(|expiry| count_expired || expiry.at > now)
        .min_by_key(|expiry| expiry.at)
}

/// Whole days from two days on, otherwise hours and minutes.
fn in_words(left: Duration) -> String {
    let days = left.as_secs() / 86_400;
    if days >= 2 {
        format!("{days} days")
    } else {
        format_duration(Duration::from_secs(left.as_secs() / 60 * 60))
    }
}
