//! AMQP 0-9-1 (RabbitMQ): log in, open the virtual host, and look at a queue without touching it.
//!
//! Spoken by hand: a dozen short frames. The client library would start a thread and tasks for each
//! connection, and a question must end with nothing left behind.

mod frame;

use pitcrew_model::AmqpTest;
use tokio::io::{AsyncWriteExt, BufReader};

use super::stream::Limited;
use crate::{Answer, Question};
use frame::{Method, Outgoing, PROTOCOL, read_method};

/// The channel that the queue is asked about on; 0 is the connection itself.
const CHANNEL: u16 = 1;

pub(crate) async fn ask(question: &Question<'_>, test: &AmqpTest) -> Answer {
    match converse(question, test).await {
        Ok(words) => Answer::pass(words),
        Err(answer) => answer,
    }
}

async fn converse(question: &Question<'_>, test: &AmqpTest) -> Result<String, Answer> {
    let stream = Limited::tcp(question, test.port).await?;
    let mut server = Connection(BufReader::new(stream));
    let product = server.log_in(test).await?;
    server.open(&test.virtual_host).await?;
    question
        .progress
        .reached("logged in, the queue is not answered for");
    let result = match &test.queue {
        None => Ok(format!("virtual host {} is open", test.virtual_host)),
        Some(queue) => server.look_at(queue, test.messages_max).await,
    };
    // A connection that just vanishes is a warning in the broker's log.
    server.say_goodbye().await.ok();
    result.map(|words| format!("{product}, {words}"))
}

/// The broker's offer of ways to log in, which is left unanswered.
pub(super) async fn hello(question: &Question<'_>, port: Option<u16>) -> Result<String, Answer> {
    let stream = Limited::tcp(question, port).await?;
    let (_mechanisms, product) = Connection(BufReader::new(stream)).start().await?;
    Ok(format!("{product} greets"))
}

struct Connection(BufReader<Limited>);

impl Connection {
    async fn start(&mut self) -> Result<(String, String), Answer> {
        self.send(PROTOCOL).await?;
        match self.receive().await? {
            Method::Start {
                mechanisms,
                product,
            } => Ok((mechanisms, product)),
            other => Err(unexpected(&other)),
        }
    }

    /// The server's product and version.
    async fn log_in(&mut self, test: &AmqpTest) -> Result<String, Answer> {
        let (mechanisms, product) = self.start().await?;
        if !mechanisms.split(' ').any(|mechanism| mechanism == "PLAIN") {
            return Err(Answer::unknown(format!(
                "the broker offers no login by password, only {mechanisms}"
            )));
        }
        let password = test.password.as_ref().map_or("", |secret| secret.expose());
        let start_ok = Outgoing::new(10, 11)
            .long_string(&client_properties().map_err(Answer::unknown)?)
            .and_then(|method| method.short_string("PLAIN"))
            .and_then(|method| {
                method.long_string(format!("\0{}\0{password}", test.user).as_bytes())
            })
            .and_then(|method| method.short_string("en_US"))
            .map_err(Answer::unknown)?;
        self.send(&start_ok.frame(0)).await?;
        match self.receive().await? {
            Method::Tune {
                channels,
                frame_bytes,
            } => {
                // No heartbeats: the question's deadline is much shorter than any.
                let tune_ok = Outgoing::new(10, 31).u16(channels).u32(frame_bytes).u16(0);
                self.send(&tune_ok.frame(0)).await?;
                Ok(product)
            }
            other => Err(unexpected(&other)),
        }
    }

    async fn open(&mut self, virtual_host: &str) -> Result<(), Answer> {
        let open = Outgoing::new(10, 40)
            .short_string(virtual_host)
            .map_err(Answer::unknown)?;
        self.send(&open.u8(0).u8(0).frame(0)).await?;
        match self.receive().await? {
            Method::OpenOk => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    /// Declares the queue passively: it must exist, and nothing about it changes.
    async fn look_at(&mut self, queue: &str, messages_max: Option<u32>) -> Result<String, Answer> {
        self.send(&Outgoing::new(20, 10).u8(0).frame(CHANNEL))
            .await?;
        match self.receive().await? {
            Method::ChannelOpenOk => {}
            other => return Err(unexpected(&other)),
        }
        let declare = Outgoing::new(50, 10)
            .u16(0)
            .short_string(queue)
            .map_err(Answer::unknown)?;
        let passive = 1;
        self.send(&declare.u8(passive).u32(0).frame(CHANNEL))
            .await?;
        let (messages, consumers) = match self.receive().await? {
            Method::DeclareOk {
                messages,
                consumers,
            } => (messages, consumers),
            other => return Err(unexpected(&other)),
        };
        let words = format!("queue {queue} has {messages} messages and {consumers} consumers");
        match messages_max {
            Some(most) if messages > most => {
                Err(Answer::fail(format!("{words}, at most {most} are wanted")))
            }
            _ => Ok(words),
        }
    }

    async fn say_goodbye(&mut self) -> Result<(), Answer> {
        let close = Outgoing::new(10, 50)
            .u16(200)
            .short_string("")
            .map_err(Answer::unknown)?;
        self.send(&close.u16(0).u16(0).frame(0)).await?;
        self.receive().await.map(|_close_ok| ())
    }

    async fn send(&mut self, bytes: &[u8]) -> Result<(), Answer> {
        self.0
            .write_all(bytes)
            .await
            .map_err(|error| Answer::from_io(&error))
    }

    /// The next method that matters; `Err` when the broker closes connection or channel with a reason.
    async fn receive(&mut self) -> Result<Method, Answer> {
        loop {
            let (channel, method) = read_method(&mut self.0)
                .await
                .map_err(|error| Answer::from_io(&error))?;
            match method {
                Method::Close { code, text } => {
                    if channel == 0 {
                        self.send(&Outgoing::new(10, 51).frame(0)).await.ok();
                    } else {
                        self.send(&Outgoing::new(20, 41).frame(channel)).await.ok();
                    }
                    return Err(blame(code, &text));
                }
                // `connection.blocked` and its kin come whenever the broker likes.
                Method::Other { .. } => {}
                method => return Ok(method),
            }
        }
    }
}

/// Asks for a reason when the login is refused; otherwise the broker just closes the connection.
fn client_properties() -> Result<Vec<u8>, String> {
    let capability = Outgoing::table()
        .short_string("authentication_failure_close")?
        .u8(b't')
        .u8(1)
        .into_bytes();
    Ok(Outgoing::table()
        .short_string("product")?
        .u8(b'S')
        .long_string(b"pitcrew")?
        .short_string("capabilities")?
        .u8(b'F')
        .long_string(&capability)?
        .into_bytes())
}

fn unexpected(method: &Method) -> Answer {
    Answer::fail(format!("the broker answered out of turn: {method:?}"))
}

/// `403 ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. …`
fn blame(code: u16, text: &str) -> Answer {
    let words = format!("{code} {text}");
    match code {
        // A virtual host that doesn't exist or isn't this user's; but a full one is full for all.
        530 if !text.contains("limit") => Answer::unknown(words),
        403 => Answer::unknown(words),
        _ => Answer::fail(words),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use pitcrew_model::Verdict;

    #[test]
    fn refusals_blame_the_broker_only_when_it_is_to_blame() {
        for (code, text, verdict) in [
            (403, "ACCESS_REFUSED - Login was refused", Verdict::Unknown),
            (
                530,
                "NOT_ALLOWED - vhost nowhere not found",
                Verdict::Unknown,
            ),
            (
                530,
                "NOT_ALLOWED - access to vhost '/' refused for user 'app': connection limit (0) is reached",
                Verdict::Fail,
            ),
            (
                404,
                "NOT_FOUND - no queue 'jobs' in vhost '/'",
                Verdict::Fail,
            ),
            (541, "INTERNAL_ERROR - vhost '/' is down", Verdict::Fail),
            (
                320,
                "CONNECTION_FORCED - broker forced connection closure",
                Verdict::Fail,
            ),
        ] {
            let answer = blame(code, text);
            assert_eq!(answer.verdict, verdict, "{text}");
            assert!(answer.evidence.as_str().contains(text));
        }
    }
}
