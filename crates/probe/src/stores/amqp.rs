//! The amqp hello.

use pitcrew_model::AmqpTest;

use crate::{Answer, Question};

pub(crate) async fn ask(_question: &Question<'_>, _test: &AmqpTest) -> Answer {
    Answer::unknown("not asked yet")
}
