//! The TCP test: connect, perhaps say something, perhaps wait for something.

use std::time::Duration;

use pitcrew_model::TcpTest;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::{Answer, Question, connect, http::excerpt};

const BYTES_MAX: usize = 64 << 10;
/// After so many pieces the rest is looked at in larger ones: searching all of it again for each byte
/// that a peer drips would cost more than the peer pays.
const PIECES_EAGER: u32 = 64;
const PIECE_PAUSE: Duration = Duration::from_millis(10);

pub(crate) async fn ask(question: &Question<'_>, test: &TcpTest) -> Answer {
    match converse(question, test).await {
        Ok(answer) | Err(answer) => answer,
    }
}

async fn converse(question: &Question<'_>, test: &TcpTest) -> Result<Answer, Answer> {
    let pattern = match &test.expect {
        Some(text) => Some((text, question.tools.pattern(text)?)),
        None => None,
    };
    let mut stream = connect::tcp(question, test.port).await?;
    if let Some(text) = &test.send {
        let sent = stream.write_all(text.as_bytes()).await;
        sent.map_err(|error| Answer::from_io(&error))?;
    }
    let Some((text, pattern)) = pattern else {
        return Ok(Answer::pass("connected"));
    };
    let mut heard = Vec::with_capacity(1 << 10);
    for piece in 0_u32.. {
        let mut rest = (&mut stream).take((BYTES_MAX - heard.len()) as u64);
        let read = rest.read_buf(&mut heard).await;
        if read.map_err(|error| Answer::from_io(&error))? == 0 {
            break;
        }
        question
            .progress
            .reached("connected, what came does not match");
        if let Some(found) = pattern.find(&heard) {
            let seen = excerpt(&heard[found.start()..], 80);
            return Ok(Answer::pass(format!("\"{seen}\"")));
        }
        if piece > PIECES_EAGER {
            tokio::time::sleep(PIECE_PAUSE).await;
        }
    }
    Ok(Answer::fail(if heard.is_empty() {
        format!("closed without a word, wanted /{text}/")
    } else if heard.len() >= BYTES_MAX {
        format!(
            "no /{text}/ in the first 64 KiB: \"{}\"",
            excerpt(&heard, 80)
        )
    } else {
        format!("closed, no /{text}/ in: \"{}\"", excerpt(&heard, 80))
    }))
}
