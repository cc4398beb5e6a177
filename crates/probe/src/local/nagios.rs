//! Nagios plugins.

use pitcrew_model::NagiosTest;

use crate::{Answer, Question};

pub(crate) async fn ask(_question: &Question<'_>, _test: &NagiosTest) -> Answer {
    Answer::unknown("not asked yet")
}
