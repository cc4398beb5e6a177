//! A bar on standard error while a simulation runs; nothing where nobody looks.

use std::{
    io::{self, IsTerminal},
    time::Duration,
};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use pitcrew_sim::Progress;

use super::figures::{counted, span};

pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new(of: Duration) -> Self {
        if !io::stderr().is_terminal() {
            return Self(ProgressBar::hidden());
        }
        let bar = ProgressBar::with_draw_target(Some(of.as_secs()), ProgressDrawTarget::stderr());
        let style =
            ProgressStyle::with_template("simulating {wide_bar} {percent}% of {msg}, {eta} left");
        let bar = bar.with_style(style.unwrap_or_else(|_invalid| ProgressStyle::default_bar()));
        bar.set_message(span(of.as_secs()));
        Self(bar)
    }

    pub(crate) fn show(&self, so_far: Progress) {
        if self.0.is_hidden() {
            return;
        }
        self.0.set_position(so_far.simulated.as_secs());
        self.0.set_message(format!(
            "{}, {}, {}",
            span(so_far.of.as_secs()),
            counted(so_far.cases, "case"),
            counted(so_far.orders, "order")
        ));
    }

    pub(crate) fn end(&self) {
        self.0.finish_and_clear();
    }
}
