//! A systemd unit.

use crate::{Answer, Question};

pub(crate) async fn ask(_question: &Question<'_>, _name: Option<&str>) -> Answer {
    Answer::unknown("not asked yet")
}
