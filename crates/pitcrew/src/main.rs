//! `pitcrew`, the one binary: its command line and nothing else.
//!
//! Exit codes: 0 fine, 1 the answer is no, 2 bad usage or configuration, 3 the server can't be reached, 70 a bug.

mod about;
mod agent;
mod arguments;
mod check;
mod client;
mod demo;
mod explain;
mod failure;
mod hosts;
mod init;
mod ledger;
mod look;
mod metrics;
mod output;
mod person;
mod query;
mod replay;
mod serve;
mod simulate;
mod story;
mod test;
mod test_policy;
mod words;

use std::process::ExitCode;

use arguments::{Arguments, Command, LedgerCommand, MetricsCommand};
use clap::Parser;
use failure::{Answered, report_panics};

const _: () = assert!(
    pitcrew_sim::GUARDS_ALWAYS_HOLD,
    "the feature `switches` takes guards away and is only for `cargo xtask guards`"
);

fn main() -> ExitCode {
    report_panics();
    let arguments = Arguments::parse();
    match run(arguments) {
        Ok(answer) => answer.into(),
        Err(failure) => failure.report(),
    }
}

fn run(arguments: Arguments) -> Answered {
    let Arguments { command, general } = arguments;
    match command {
        Command::Demo(options) => demo::demo(&options, &general),
        Command::DemoService(options) => demo::service::run(&options),
        Command::Init(options) => init::init(&options, &general),
        Command::Serve(options) => serve::serve(options),
        Command::Agent(options) => agent::agent(options, &general),
        Command::AgentHands(options) => agent::hands(options),
        Command::Enroll(options) => hosts::enroll(&options, &general),
        Command::Check(options) => check::check(&options, &general),
        Command::TestPolicy(options) => test_policy::test_policy(&options, &general),
        Command::Simulate(options) => simulate::simulate(&options, &general),
        Command::Status => look::status(&general),
        Command::Targets(options) => look::targets(&options, &general),
        Command::Cases(options) => look::cases(&options, &general),
        Command::Orders(options) => look::orders(&options, &general),
        Command::Hosts(options) => hosts::hosts(&options, &general),
        Command::Limits => look::limits(&general),
        Command::Explain(options) => explain::explain(&options, &general),
        Command::Pause(options) => person::pause(options, &general),
        Command::Resume(options) => person::resume(options, &general),
        Command::Hold(options) => person::hold(options, &general),
        Command::Release(options) => person::release(&options, &general),
        Command::Approve(options) => person::approve(&options, &general),
        Command::Deny(options) => person::deny(&options, &general),
        Command::Order(options) => person::order(options, &general),
        Command::Close(options) => person::close(&options, &general),
        Command::Accept(options) => person::accept(&options, &general),
        Command::Test(options) => test::test(options, &general),
        Command::Ledger(LedgerCommand::Verify(files)) => ledger::verify(&files, &general),
        Command::Ledger(LedgerCommand::Move(options)) => {
            ledger::move_to_database(&options, &general)
        }
        Command::Ledger(LedgerCommand::Export(files)) => ledger::export(&files, &general),
        Command::Query(options) => query::query(&options, &general),
        Command::Metrics(MetricsCommand::Import(options)) => metrics::import(options, &general),
        Command::Metrics(MetricsCommand::Export(options)) => metrics::export(options, &general),
        Command::Metrics(MetricsCommand::Backup { name }) => metrics::backup(name, &general),
        Command::Replay(options) => replay::replay(&options, &general),
        Command::Schema(options) => about::schema(&options),
        Command::Completions { shell } => about::completions(shell),
        Command::Version => about::version(&general),
    }
}
