//! The memcached hello.

use pitcrew_model::MemcachedTest;

use crate::{Answer, Question};

pub(crate) async fn ask(_question: &Question<'_>, _test: &MemcachedTest) -> Answer {
    Answer::unknown("not asked yet")
}
