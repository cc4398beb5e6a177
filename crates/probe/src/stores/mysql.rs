//! The mysql hello.

use pitcrew_model::MysqlTest;

use crate::{Answer, Question};

pub(crate) async fn ask(_question: &Question<'_>, _test: &MysqlTest) -> Answer {
    Answer::unknown("not asked yet")
}
