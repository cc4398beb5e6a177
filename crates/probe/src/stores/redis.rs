//! The redis hello.

use pitcrew_model::RedisTest;

use crate::{Answer, Question};

pub(crate) async fn ask(_question: &Question<'_>, _test: &RedisTest) -> Answer {
    Answer::unknown("not asked yet")
}
