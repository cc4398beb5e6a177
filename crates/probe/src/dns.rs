//! The DNS test: asks the target, a DNS server, one question. UDP first, TCP when the answer is cut.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use hickory_resolver::proto::{
    op::{Message, MessageType, Query, ResponseCode},
    rr::{Name, RecordType},
};
use pitcrew_model::{DnsRecord, DnsTest};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use crate::{Answer, Question, resolve};

const USUAL_PORT: u16 = 53;
/// A lost datagram is no failure yet: the question is put this often within the deadline.
const TRIES: u32 = 3;

pub(crate) async fn ask(question: &Question<'_>, test: &DnsTest) -> Answer {
    match query(question, test).await {
        Ok(answer) | Err(answer) => answer,
    }
}

async fn query(question: &Question<'_>, test: &DnsTest) -> Result<Answer, Answer> {
    let mut name = Name::from_utf8(&test.name)
        .map_err(|error| Answer::unknown(format!("`{}` is not a name: {error}", test.name)))?;
    // Names in a test are whole, with or without the final dot; as a server repeats them.
    name.set_fqdn(true);
    let port = question.port(test.port).unwrap_or(USUAL_PORT);
    let addresses = resolve::addresses(question, question.host()?).await?;
    let server = SocketAddr::new(addresses[0], port);
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(name, record_type(test.record)));
    let bytes = message
        .to_vec()
        .map_err(|error| Answer::unknown(format!("`{}` can't be asked: {error}", test.name)))?;
    question.progress.reached("asked, then silence");
    let failed = |error: io::Error| Answer::from_io(&error);
    let mut response = by_udp(question, server, &message, &bytes)
        .await
        .map_err(failed)?;
    if response.metadata.truncation {
        question
            .progress
            .reached("asked again by TCP, then silence");
        let bytes = by_tcp(server, &bytes).await.map_err(failed)?;
        response = answer_to(&message, &bytes)
            .ok_or_else(|| Answer::fail("what came back by TCP is no answer"))?;
    }
    Ok(judge(test, &response))
}

async fn by_udp(
    question: &Question<'_>,
    server: SocketAddr,
    message: &Message,
    bytes: &[u8],
) -> io::Result<Message> {
    let any_port: SocketAddr = match server {
        SocketAddr::V4(_) => ([0; 4], 0).into(),
        SocketAddr::V6(_) => ([0; 16], 0).into(),
    };
    let socket = UdpSocket::bind(any_port).await?;
    socket.connect(server).await?;
    let patience = question.test.timeout / TRIES;
    let mut buffer = vec![0; 4 << 10];
    socket.send(bytes).await?;
    loop {
        match timeout(patience, socket.recv(&mut buffer)).await {
            Ok(received) => {
                let length = received?;
                // Anything else is an answer to someone else's question, or a lie.
                if let Some(answer) = answer_to(message, &buffer[..length]) {
                    return Ok(answer);
                }
                question
                    .progress
                    .reached("asked, what came back is no answer");
            }
            Err(_elapsed) => {
                socket.send(bytes).await?;
            }
        }
    }
}

async fn by_tcp(server: SocketAddr, bytes: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(bytes.len()).map_err(io::Error::other)?;
    let mut framed = length.to_be_bytes().to_vec();
    framed.extend_from_slice(bytes);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut answer = vec![0; usize::from(length)];
    stream.read_exact(&mut answer).await?;
    Ok(answer)
}

/// The answer in these bytes, when they hold one to this question.
fn answer_to(question: &Message, bytes: &[u8]) -> Option<Message> {
    let answer = Message::from_vec(bytes).ok()?;
    let fits = answer.metadata.id == question.metadata.id
        && answer.metadata.message_type == MessageType::Response
        && (answer.queries.is_empty() || answer.queries == question.queries);
    fits.then_some(answer)
}

fn judge(test: &DnsTest, response: &Message) -> Answer {
    let DnsTest { name, record, .. } = test;
    let record = record_type(*record);
    match response.metadata.response_code {
        ResponseCode::NoError => {}
        code => return Answer::fail(format!("{} for {name} {record}", code_name(code))),
    }
    let found: Vec<String> = response
        .answers
        .iter()
        .filter(|answer| answer.record_type() == record)
        .map(|answer| answer.data.to_string())
        .collect();
    if found.is_empty() {
        return Answer::fail(format!("no {record} record for {name}"));
    }
    let seen = found.join(", ");
    let absent: Vec<&str> = test
        .answers
        .iter()
        .filter(|wanted| !found.iter().any(|have| same(record, wanted, have)))
        .map(String::as_str)
        .collect();
    if absent.is_empty() {
        Answer::pass(seen)
    } else {
        Answer::fail(format!(
            "{name} {record} is {seen}, lacks {}",
            absent.join(", ")
        ))
    }
}

/// Texts compare exactly; addresses as addresses; names without case and final dot.
fn same(record: RecordType, wanted: &str, have: &str) -> bool {
    if record == RecordType::TXT {
        return wanted == have;
    }
    if let (Ok(wanted), Ok(have)) = (wanted.parse::<IpAddr>(), have.parse::<IpAddr>()) {
        return wanted == have;
    }
    let plain = |text: &str| text.trim_end_matches('.').to_ascii_lowercase();
    plain(wanted) == plain(have)
}

fn record_type(record: DnsRecord) -> RecordType {
    match record {
        DnsRecord::A => RecordType::A,
        DnsRecord::Aaaa => RecordType::AAAA,
        DnsRecord::Srv => RecordType::SRV,
        DnsRecord::Txt => RecordType::TXT,
        DnsRecord::Mx => RecordType::MX,
        DnsRecord::Cname => RecordType::CNAME,
        DnsRecord::Ns => RecordType::NS,
        DnsRecord::Ptr => RecordType::PTR,
    }
}

/// As `dig` writes it.
fn code_name(code: ResponseCode) -> String {
    match code {
        ResponseCode::NXDomain => "NXDOMAIN".to_owned(),
        ResponseCode::ServFail => "SERVFAIL".to_owned(),
        ResponseCode::Refused => "REFUSED".to_owned(),
        ResponseCode::FormErr => "FORMERR".to_owned(),
        ResponseCode::NotImp => "NOTIMP".to_owned(),
        other => other.to_string(),
    }
}
