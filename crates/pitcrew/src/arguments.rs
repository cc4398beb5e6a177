//! The command line as people type it. What each command does is in the file of its group.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use clap::{Args, Parser, Subcommand, ValueEnum};
use pitcrew_model::{
    CaseId, Health, OrderId, Scope, ServiceName, SourceName, TargetId, TestName, parse_duration,
};

use crate::query::When;

const EXIT_CODES: &str = "\
Exit codes: 0 fine, 1 the answer is no (unhealthy, refused), 2 bad usage or configuration,
3 the server can't be reached, 70 a bug.

First steps:
  pitcrew init production              what is here? writes a configuration that only watches
  pitcrew check production/            is the configuration right?
  pitcrew serve --config production/   find, test and repair
  pitcrew status                       what is, now
  pitcrew explain web-1                why something was done, or was not";

/// Finds, tests and repairs production, inside limits that you write down.
#[derive(Debug, Parser)]
#[command(name = "pitcrew", version, after_help = EXIT_CODES, max_term_width = 110)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: Command,
    #[command(flatten)]
    pub(crate) general: General,
}

#[derive(Clone, Debug, Args)]
pub(crate) struct General {
    /// Print JSON, for scripts.
    #[arg(long, global = true, help_heading = "General")]
    pub(crate) json: bool,
    /// The server to ask. An agent is given each of several.
    #[arg(
        long,
        global = true,
        env = "PITCREW_SERVER",
        default_value = "http://127.0.0.1:7400",
        value_delimiter = ',',
        value_name = "URL",
        help_heading = "General"
    )]
    pub(crate) server: Vec<String>,
    /// File with the server's token, where it wants one.
    #[arg(
        long,
        global = true,
        env = "PITCREW_TOKEN_FILE",
        value_name = "FILE",
        help_heading = "General"
    )]
    pub(crate) token_file: Option<PathBuf>,
}

/// In the order of a day: set up, look, act, audit.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Start a small production here, break it in eight ways and watch it heal. Exit 0 if all ended as it should.
    #[command(
        after_help = "Examples:\n  pitcrew demo\n  pitcrew demo --keep     and look around in a second terminal"
    )]
    Demo(DemoOptions),
    /// The service that the demo breaks.
    #[command(hide = true)]
    DemoService(DemoServiceOptions),
    /// Look at this machine and write a configuration that only watches, ready to serve.
    #[command(after_help = "\
Examples:
  pitcrew init                         writes production/pitcrew.yaml
  pitcrew init web --port 80 --port 443

It looks at who listens, what speaks there and what runs it (unit, container or command), and asks each once.
It changes nothing else, and overwrites nothing. As root it sees everybody's processes.")]
    Init(InitOptions),
    /// Run the loop and the API: find, test, decide, repair, verify.
    #[command(after_help = "\
Examples:
  pitcrew serve --config production/
  pitcrew serve --config production/ --listen 127.0.0.1:7401 --data /var/lib/pitcrew

The directory is watched: a change takes effect by itself or by SIGHUP; one with errors is refused
and the old configuration stays in force. SIGTERM stops Pitcrew; processes it runs live on.")]
    Serve(ServeOptions),
    /// Run on a host: test and act there for a server elsewhere.
    #[command(after_help = "\
Examples:
  pitcrew agent --server db.example:7443 --token-file token --data /var/lib/pitcrew-agent --config host.yaml
  pitcrew agent --server a.example:7443 --server b.example:7443 …      whichever of them leads

The first time it needs the token that `pitcrew enroll HOST` prints on the server; the key it then makes never leaves
the host. What it may do is in its own configuration (`pitcrew schema --host`), read at its start: no server can make it
run another command or exceed its limits. SIGTERM stops it; processes it runs live on.")]
    Agent(AgentOptions),
    /// Run beside an agent without privileges: carry out what it is ordered, without a network.
    #[command(after_help = "\
Example:
  pitcrew agent-hands --data /var/lib/pitcrew-hands --config host.yaml --socket /run/pitcrew-agent/hands --user pitcrew-agent

Only that user may open the socket; `pitcrew agent --hands FILE` is what asks there. Every order is checked here as if anybody
could have given it.")]
    AgentHands(HandsOptions),
    /// Print a token with which a host can enrol, once and within an hour.
    #[command(after_help = "\
Example:
  pitcrew enroll web-1 > token       and carry it to the host, for `pitcrew agent --token-file token`")]
    Enroll(EnrollOptions),
    /// Validate a configuration: every error with its place. Exit 0 or 2.
    #[command(after_help = "Example:\n  pitcrew check production/ && systemctl reload pitcrew")]
    Check(CheckOptions),
    /// Does the policy decide as you expect? Runs incidents written as text against it. Exit 1 when one is decided otherwise.
    #[command(after_help = "\
Examples:
  pitcrew test-policy production/                      every *.scenario file there
  pitcrew test-policy production/ freeze.scenario

A scenario says what happens and what must follow, such as:
  at 1m   web-1 down
  at 2m   expect order restart web-1
Where there is none yet, the command prints one to begin with. Nothing is started, asked or written.")]
    TestPolicy(TestPolicyOptions),
    /// What would this configuration do? Runs it for hours over a production that exists only in memory.
    #[command(after_help = "\
Examples:
  pitcrew simulate production/                             a thousand targets for a day
  pitcrew simulate production/ --targets 1000000 --seed 7 --html report.html
  pitcrew simulate production/ --trace failures.csv        what it would have done then

A trace is CSV with a header: time and node, and rack and room where they are known; other columns are ignored.
The same seed gives the same report, to the byte. Exit 1 if a wrong target was touched or an invariant broken.")]
    Simulate(SimulateOptions),
    /// What is, now: services, open cases, and what needs you. Exit 1 when something fails or needs you.
    Status,
    /// Every target with its health and tests.
    #[command(
        after_help = "Examples:\n  pitcrew targets --health failing\n  pitcrew targets --service web --json"
    )]
    Targets(TargetOptions),
    /// Troubles, open and lately closed.
    #[command(after_help = "Examples:\n  pitcrew cases\n  pitcrew cases --state all --service web")]
    Cases(CaseOptions),
    /// What was done or waits for approval, the newest first.
    Orders(ListOptions),
    /// Hosts with an agent, and which are connected. Exit 1 when one is not.
    #[command(after_help = "\
Examples:
  pitcrew hosts
  pitcrew hosts --revoke web-7     its certificate ends now, and its connection; enrol it again to have it back
  pitcrew hosts --accept web-7     believe it that more than half of what it ran is gone")]
    Hosts(HostsOptions),
    /// Every limit, what it allows and what of it is used.
    Limits,
    /// The whole chain of a case, an order or a target, with the exact limit that held back what was not done.
    #[command(
        after_help = "Examples:\n  pitcrew explain case-41\n  pitcrew explain order-7\n  pitcrew explain web-1"
    )]
    Explain(ExplainOptions),
    /// Give no new order: in a scope or everywhere. Testing, undo and verification go on.
    #[command(after_help = "\
Examples:
  pitcrew pause --why 'network maintenance'
  pitcrew pause web --why 'release 4.2'
  pitcrew pause web:zone=a --why 'power work in a'")]
    Pause(PauseOptions),
    /// Lift a pause, and release breakers and the fleet brake of that scope.
    #[command(after_help = "Examples:\n  pitcrew resume\n  pitcrew resume web")]
    Resume(ResumeOptions),
    /// Put your hand on a target: nothing is done to it until then.
    #[command(after_help = "Example:\n  pitcrew hold db-1 --for 2h --why 'restoring a backup'")]
    Hold(HoldOptions),
    /// Take your hand off a target.
    Release(ReleaseOptions),
    /// Approve the exact order that waits.
    #[command(after_help = "Example:\n  pitcrew approve order-7")]
    Approve(ApproveOptions),
    /// Deny an order that waits for approval.
    Deny(DenyOptions),
    /// Give an order yourself, through the same limits.
    #[command(after_help = "\
Examples:
  pitcrew order web-1 restart --why 'memory leak, ticket 812'
  pitcrew order web-1 flush-cache --why 'a command that a repair of its service has'")]
    Order(OrderOptions),
    /// Close a handed-over case that you have dealt with.
    Close(CloseOptions),
    /// Obey the empty or shrunken answer of a discovery source that was refused.
    #[command(after_help = "Example:\n  pitcrew accept file-1 --why 'rack 7 was decommissioned'")]
    Accept(AcceptOptions),
    /// Run tests now and show the evidence. Exit 1 unless all pass.
    #[command(after_help = "Examples:\n  pitcrew test web-1\n  pitcrew test web-1 answers")]
    Test(TestOptions),
    /// Put what `serve --record` wrote through the engine again: the same decisions, or another policy's beside them.
    #[command(after_help = "\
Examples:
  pitcrew replay record                        does the same policy decide the same? Exit 1 if not
  pitcrew replay record --data ./data          and is that what the ledger says, record by record?
  pitcrew replay record --config production/   what would this configuration have done then?

With --config, case by case: acted or not, earlier or later, and by which limit. What was observed stays as it was, and
orders that were not given then are assumed to be done; a case is conjecture from its first order that differs. Discovery's
targets are as recorded; whatever `run` or `find` say now is not asked.
With --data, the server's own facts are left out, because they never pass through the engine: server_started,
configuration_refused, process_started, process_stopped, notified.
Exit codes: 0 alike, 1 differences, 2 a record or configuration that can't be used.")]
    Replay(ReplayOptions),
    /// Ask the metrics store in PromQL: a table of an instant, a plot of a range.
    #[command(after_help = "\
Examples:
  pitcrew query 'sum by (job) (rate(http_requests_total[5m]))'
  pitcrew query 'up == 0' --at 2h                     two hours ago
  pitcrew query 'node_load1' --from 6h                a plot of the last six hours
  pitcrew query 'up' --from 2026-11-01T00:00:00Z --to 2026-11-02T00:00:00Z --step 5m --json

A time is `now`, a duration before now, RFC 3339 or seconds since 1970.")]
    Query(QueryOptions),
    /// Bring samples into the metrics store, or take them out.
    #[command(subcommand)]
    Metrics(MetricsCommand),
    /// Verify or export the tamper-evident record of every decision.
    #[command(subcommand)]
    Ledger(LedgerCommand),
    /// Print the configuration's JSON Schema, for editors.
    Schema(SchemaOptions),
    /// Print completions for a shell.
    #[command(after_help = "Example:\n  pitcrew completions bash > /etc/bash_completion.d/pitcrew")]
    Completions { shell: clap_complete::Shell },
    /// Print the version.
    Version,
}

#[derive(Debug, Args)]
pub(crate) struct DemoOptions {
    /// Leave it up afterwards, until Ctrl-C.
    #[arg(long)]
    pub(crate) keep: bool,
}

#[derive(Debug, Args)]
pub(crate) struct DemoServiceOptions {
    #[arg(long)]
    pub(crate) port: u16,
    #[arg(long)]
    pub(crate) name: String,
    /// Of the demo: its lease and its faults.
    #[arg(long)]
    pub(crate) directory: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct InitOptions {
    /// Directory of the new configuration.
    #[arg(default_value = "production")]
    pub(crate) dir: PathBuf,
    /// Only look at what listens on this port; may be given more than once.
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Vec<u16>,
}

#[derive(Debug, Args)]
pub(crate) struct ServeOptions {
    /// Directory of the configuration: every *.yaml in it.
    #[arg(long, value_name = "DIR")]
    pub(crate) config: PathBuf,
    /// Address of the API, instead of `server.listen`.
    #[arg(long, value_name = "ADDRESS")]
    pub(crate) listen: Option<SocketAddr>,
    /// Directory of the ledger and of supervised processes, instead of `server.data`.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Append everything that is observed and decided to this file, for `pitcrew replay`.
    #[arg(long, value_name = "FILE")]
    pub(crate) record: Option<PathBuf>,
    /// What the metrics store may take, such as 512MiB, instead of `metrics.memory`.
    #[arg(long, value_name = "SIZE", value_parser = pitcrew_config::memory_size)]
    pub(crate) memory: Option<u64>,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

#[derive(Debug, Args)]
pub(crate) struct LogOptions {
    /// What to log: a level, or `target=level` pairs.
    #[arg(
        long,
        env = "PITCREW_LOG",
        default_value = "info",
        value_name = "FILTER"
    )]
    pub(crate) log: String,
    #[arg(long, env = "PITCREW_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub(crate) log_format: LogFormat,
}

#[derive(Debug, Args)]
pub(crate) struct AgentOptions {
    /// Directory of the host's key, and of supervised processes.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// File that says what runs on this host and what may be done to it; the host alone when absent.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Socket of `pitcrew agent-hands`, which then carries orders out instead of this process.
    #[arg(long, value_name = "FILE")]
    pub(crate) hands: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

#[derive(Debug, Args)]
pub(crate) struct HandsOptions {
    /// Directory of what was done, and of supervised processes: for root only.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// The host's configuration, the same as the agent's.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Where the agent asks.
    #[arg(long, value_name = "FILE")]
    pub(crate) socket: PathBuf,
    /// Who may ask there, beside root.
    #[arg(long, value_name = "NAME")]
    pub(crate) user: String,
    #[command(flatten)]
    pub(crate) log: LogOptions,
}

#[derive(Debug, Args)]
pub(crate) struct HostsOptions {
    /// End this host's certificates, tokens and connection.
    #[arg(long, value_name = "HOST", conflicts_with = "accept")]
    pub(crate) revoke: Option<String>,
    /// Believe what this host said last.
    #[arg(long, value_name = "HOST")]
    pub(crate) accept: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct EnrollOptions {
    /// 1 to 63 lower-case letters, digits, `-` and `.`: its name from now on.
    pub(crate) host: String,
}

#[derive(Debug, Args)]
pub(crate) struct SchemaOptions {
    /// Of a host's configuration, for its agent.
    #[arg(long)]
    pub(crate) host: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    Text,
    Json,
}

#[derive(Debug, Args)]
pub(crate) struct CheckOptions {
    /// Directory of the configuration, or one file.
    pub(crate) dir: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct SimulateOptions {
    /// Directory of the configuration, or one file.
    pub(crate) dir: PathBuf,
    /// How many; 1000, or with --trace as many as it implies, when absent.
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) targets: Option<u32>,
    /// How long; 24, or with --trace as long as it is, when absent.
    #[arg(long, value_name = "HOURS", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) hours: Option<u32>,
    /// Of all chance.
    #[arg(long, default_value_t = 1)]
    pub(crate) seed: u64,
    /// How much goes wrong.
    #[arg(long, value_enum, default_value_t, conflicts_with = "trace")]
    pub(crate) faults: Faults,
    /// Recorded failures instead: a CSV file.
    #[arg(long, value_name = "FILE")]
    pub(crate) trace: Option<PathBuf>,
    /// Write the report with plots here, as one HTML page.
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum Faults {
    /// Nothing goes wrong.
    Calm,
    /// As in a production that is well run.
    #[default]
    Ordinary,
    /// Everything, all the time: for small fleets.
    Stormy,
}

#[derive(Debug, Args)]
pub(crate) struct TestPolicyOptions {
    /// Directory of the configuration, or one file.
    pub(crate) dir: PathBuf,
    /// Scenarios; every *.scenario file of that directory when absent.
    pub(crate) files: Vec<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct ListOptions {
    /// How many at most; 100 in a table and all as JSON when absent.
    #[arg(long)]
    pub(crate) limit: Option<usize>,
}

#[derive(Debug, Args)]
pub(crate) struct TargetOptions {
    /// Only of this service.
    #[arg(long)]
    pub(crate) service: Option<ServiceName>,
    /// Only those that are healthy, failing, repairing, probation or unknown.
    #[arg(long, value_parser = parse_health, value_name = "STATE")]
    pub(crate) health: Option<Health>,
    #[command(flatten)]
    pub(crate) list: ListOptions,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub(crate) enum CaseState {
    #[default]
    Open,
    Closed,
    All,
}

#[derive(Debug, Args)]
pub(crate) struct CaseOptions {
    #[arg(long, value_enum, default_value_t)]
    pub(crate) state: CaseState,
    /// Only of this service.
    #[arg(long)]
    pub(crate) service: Option<ServiceName>,
    #[command(flatten)]
    pub(crate) list: ListOptions,
}

#[derive(Debug, Args)]
pub(crate) struct ExplainOptions {
    /// A case (`case-41`), an order (`order-7`) or a target (`web-1`).
    pub(crate) id: String,
}

#[derive(Debug, Args)]
pub(crate) struct PauseOptions {
    /// A service (`web`) or a part of one (`web:zone=a`); everything when absent.
    #[arg(value_parser = parse_scope)]
    pub(crate) scope: Option<Scope>,
    /// For the others, who will wonder.
    #[arg(long)]
    pub(crate) why: String,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeOptions {
    /// A service (`web`) or a part of one (`web:zone=a`); the fleet when absent.
    #[arg(value_parser = parse_scope)]
    pub(crate) scope: Option<Scope>,
}

#[derive(Debug, Args)]
pub(crate) struct HoldOptions {
    /// As `pitcrew targets` names it.
    pub(crate) target: TargetId,
    /// How long, at most 30d: `30m`, `2h`.
    #[arg(long = "for", value_parser = parse_length, value_name = "DURATION")]
    pub(crate) lasting: Duration,
    /// For the others, who will wonder.
    #[arg(long)]
    pub(crate) why: String,
}

#[derive(Debug, Args)]
pub(crate) struct ReleaseOptions {
    /// As `pitcrew targets` names it.
    pub(crate) target: TargetId,
}

#[derive(Debug, Args)]
pub(crate) struct ApproveOptions {
    /// As `pitcrew orders` names it: `order-7`.
    pub(crate) order: OrderId,
    /// The digest that you were shown; the order's own as it is now when absent.
    #[arg(long)]
    pub(crate) digest: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct DenyOptions {
    /// As `pitcrew orders` names it: `order-7`.
    pub(crate) order: OrderId,
}

#[derive(Debug, Args)]
pub(crate) struct OrderOptions {
    /// As `pitcrew targets` names it.
    pub(crate) target: TargetId,
    /// `restart`, `start`, `stop`, `hand_over`, or the name of a command or webhook of its service's repairs.
    pub(crate) action: String,
    /// For the record.
    #[arg(long)]
    pub(crate) why: String,
}

#[derive(Debug, Args)]
pub(crate) struct CloseOptions {
    /// As `pitcrew cases` names it: `case-41`.
    pub(crate) case: CaseId,
    /// What it was.
    #[arg(long)]
    pub(crate) why: String,
}

#[derive(Debug, Args)]
pub(crate) struct AcceptOptions {
    /// As the notice and `pitcrew ledger export` name it.
    pub(crate) source: SourceName,
    /// For the record.
    #[arg(long)]
    pub(crate) why: String,
}

#[derive(Debug, Args)]
pub(crate) struct TestOptions {
    /// As `pitcrew targets` names it.
    pub(crate) target: TargetId,
    /// All tests of the target when absent.
    pub(crate) tests: Vec<TestName>,
}

#[derive(Debug, Args)]
pub(crate) struct ReplayOptions {
    /// What `pitcrew serve --record` wrote.
    pub(crate) record: PathBuf,
    /// Directory of another configuration, or one file; the recorded one when absent.
    #[arg(long, value_name = "DIR")]
    pub(crate) config: Option<PathBuf>,
    /// Directory of the ledger that was written meanwhile, to compare with.
    #[arg(long, value_name = "DIR", conflicts_with = "config")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct QueryOptions {
    /// PromQL.
    #[arg(value_name = "EXPR")]
    pub(crate) expression: String,
    /// The instant; now when absent.
    #[arg(long, value_name = "TIME", value_parser = When::parse, conflicts_with = "from")]
    pub(crate) at: Option<When>,
    /// The beginning of a range.
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    pub(crate) from: Option<When>,
    /// Its end; now when absent.
    #[arg(long, value_name = "TIME", value_parser = When::parse, requires = "from")]
    pub(crate) to: Option<When>,
    /// Between two values; as many as fit into the plot when absent.
    #[arg(long, value_name = "DURATION", value_parser = parse_length, requires = "from")]
    pub(crate) step: Option<Duration>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum MetricsCommand {
    /// Store the samples of a file, of any age that is kept. What is there already stays as it is.
    #[command(after_help = "\
Examples:
  pitcrew metrics import history.jsonl
  promtool tsdb dump-openmetrics data/ | pitcrew metrics import - --format openmetrics

A line that can't be read ends the import and is named; what came before it is stored. It may be repeated.")]
    Import(ImportOptions),
    /// Print the samples of the selected series as they are.
    #[command(after_help = "\
Examples:
  pitcrew metrics export 'up' > up.jsonl
  pitcrew metrics export '{job=\"web\"}' --from 24h --format openmetrics > web.om

JSON lines have every bit. Text has no words for native histograms (it ends there with an error), for what ends a series and
for unusual NaNs.")]
    Export(ExportOptions),
    /// Write the store as it is now into a directory beside it, while it goes on.
    #[command(after_help = "\
Example:
  pitcrew metrics backup          prints where: DATA/metrics-backups/2026-11-23T09-30-00Z

To go back to it: stop the server, move DATA/metrics away, copy the backup to DATA/metrics, and start the server.")]
    Backup {
        /// Of the backup; the time when absent.
        name: Option<String>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum SampleFormat {
    /// One series a line, as JSON.
    Jsonl,
    /// Prometheus' text, version 0.0.4.
    Prometheus,
    /// OpenMetrics 1.0.
    Openmetrics,
}

#[derive(Debug, Args)]
pub(crate) struct ImportOptions {
    /// A file, or `-` for standard input.
    pub(crate) file: PathBuf,
    /// What it is; by its name and its beginning when absent.
    #[arg(long, value_enum)]
    pub(crate) format: Option<SampleFormat>,
}

#[derive(Debug, Args)]
pub(crate) struct ExportOptions {
    /// Which series: `name{label="value"}`; of several any may fit.
    #[arg(required = true, value_name = "SELECTOR")]
    pub(crate) selectors: Vec<String>,
    #[arg(long, value_enum, default_value_t = SampleFormat::Jsonl)]
    pub(crate) format: SampleFormat,
    /// Only from this time on.
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    pub(crate) from: Option<When>,
    /// Only up to this time.
    #[arg(long, value_name = "TIME", value_parser = When::parse)]
    pub(crate) to: Option<When>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LedgerCommand {
    /// Check the hash chain end to end. Exit 1 when it is broken.
    #[command(after_help = "\
Examples:
  pitcrew ledger verify                         asks the server
  pitcrew ledger verify --data /var/lib/pitcrew straight from the files, with or without a server")]
    Verify(LedgerOptions),
    /// Print the whole chain as JSON lines, checked as it is read.
    #[command(after_help = "Example:\n  pitcrew ledger export --data ./data > ledger.jsonl")]
    Export(LedgerOptions),
    /// Move a ledger from its files into the database that the configuration names, all of it or nothing.
    #[command(after_help = "\
Example:
  pitcrew ledger move --config production/

Stop the server first, and write `server: { state: { postgres: { url: … } } }`. The database must be empty. The chain is
checked before and after; what was interrupted may be repeated. The files stay, and no server goes on with them.")]
    Move(MoveOptions),
}

#[derive(Debug, Args)]
pub(crate) struct LedgerOptions {
    /// Directory of the ledger's files; the server is asked when absent.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct MoveOptions {
    /// Directory of the configuration, or one file.
    #[arg(long, value_name = "DIR")]
    pub(crate) config: PathBuf,
    /// Directory of the ledger's files, when it is not as configured.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
}

fn parse_length(text: &str) -> Result<Duration, String> {
    parse_duration(text).map_err(|error| error.to_string())
}

fn parse_health(text: &str) -> Result<Health, String> {
    serde_json::from_value(text.into()).map_err(|_unknown| {
        "it is one of healthy, failing, repairing, probation, unknown".to_owned()
    })
}

/// `web` or `web:zone=a`
pub(crate) fn parse_scope(text: &str) -> Result<Scope, String> {
    let service = |name: &str| ServiceName::new(name).map_err(|error| error.to_string());
    if let Some((before, value)) = text.split_once('=') {
        let parts = before.rsplit_once(':');
        let (name, label) = parts.ok_or("a part of a service is written SERVICE:LABEL=VALUE")?;
        return Ok(Scope::Domain {
            service: service(name)?,
            label: label.to_owned(),
            value: value.to_owned(),
        });
    }
    if text == "fleet" {
        return Ok(Scope::Fleet);
    }
    service(text).map(Scope::Service)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn a_scope_is_a_service_or_a_part_of_one() {
        let web = ServiceName::new("web").unwrap();
        assert_eq!(parse_scope("web"), Ok(Scope::Service(web.clone())));
        assert_eq!(parse_scope("fleet"), Ok(Scope::Fleet));
        let part = Scope::Domain {
            service: web,
            label: "zone".into(),
            value: "a".into(),
        };
        assert_eq!(parse_scope("web:zone=a"), Ok(part));
        assert!(parse_scope("zone=a").is_err());
        assert!(parse_scope("").is_err());
    }
}
