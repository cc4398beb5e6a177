//! `simulate`: what would this policy do? The real engine and interlock in a production that exists only in memory.
//!
//! Everything that is printed comes from the report alone, and no clock is read for it: the same seed gives the
//! same bytes.

mod figures;
mod files;
mod html;
mod page;
mod plan;
mod plot;
mod progress;
#[cfg(test)]
mod sample;
mod table;

use pitcrew_model::Production;
use pitcrew_sim::Report;

use crate::{
    arguments::{General, SimulateOptions},
    failure::{Answer, Answered, Failure},
    output::{note, print, print_json, stderr_has_colour},
};

pub(crate) fn simulate(options: &SimulateOptions, general: &General) -> Answered {
    let production = read(options)?;
    if let Some(file) = &options.html {
        files::check_can_be_written(file)?;
    }
    let plan = plan::plan(&production, options)?;
    let bar = progress::Bar::new(plan.options.duration);
    let report = pitcrew_sim::simulate(&production, &plan.options, &plan.mishaps, &mut |so_far| {
        bar.show(so_far);
    });
    bar.end();
    let report = report.map_err(Failure::usage)?;
    show(&report, &figures::hints(&production), options, general)?;
    Ok(match figures::is_safe(&report) {
        true => Answer::Yes,
        false => Answer::No,
    })
}

fn read(options: &SimulateOptions) -> Result<Production, Failure> {
    match pitcrew_config::load(&options.dir) {
        // Its warnings are `check`'s business.
        Ok(loaded) => Ok(loaded.production),
        Err(error) => {
            note(error.render(stderr_has_colour()).trim_end());
            Err(Failure::Configuration)
        }
    }
}

fn show(
    report: &Report,
    hints: &[String],
    options: &SimulateOptions,
    general: &General,
) -> Result<(), Failure> {
    if let Some(file) = &options.html {
        let page = page::page(report, hints, &plan::command(report, options));
        files::write(file, &page)?;
        note(&format!("the report is in {}", file.display()));
    }
    if general.json {
        print_json(report)
    } else {
        print(&table::table(report, hints))
    }
}
