//! The nouns of Pitcrew, one meaning each: plain data that every other crate shares.
//!
//! Nothing here decides, waits, reads a clock or does IO. A value that can be wrong is checked where it
//! enters (`config`, `find`, the HTTP API); from there on its type says that it is right.

mod case;
mod drain;
mod event;
mod host;
mod host_test;
mod id;
mod labels;
mod limits;
mod metric_test;
mod metrics;
mod observation;
mod order;
mod power;
mod production;
mod scrape;
mod target;
mod test;
mod time;

pub use case::{Case, CaseMemory, Ending, Finding, Hold, Phase, Progress};
pub use drain::{Drain, DrainBy, Lease, LeaseTerm, Undo};
pub use event::{
    Effect, Event, Fact, Notice, PersonAct, Record, Request, Saved, Scope, SourceTrouble, Urgency,
};
pub use host::{HostCommand, HostLimits, HostSettings, HostThing};
pub use host_test::{HostTest, Left};
pub use id::{
    CaseId, InvalidName, ObserverName, OperationId, OrderId, ReceiverName, RepairName, ServiceName,
    SourceName, TargetId, TestName,
};
pub use labels::{InvalidLabel, Labels, Selector};
pub use limits::{BreakerRule, Count, Lemon, Limits, Rate, Release};
pub use metric_test::{MetricTest, Threshold, Unquotable};
pub use metrics::{DownsampleRule, KeepRule, MetricsSettings, QuerySettings};
pub use observation::{Evidence, Health, Observation, Verdict};
pub use order::{Action, Authority, Objection, Order, OrderState, Outcome, OutcomeKind};
pub use power::{PowerController, PowerRule};
pub use production::{
    AgentSettings, AuthorityFiles, Autonomy, Destination, FleetLimits, LogPolicy, Ports,
    PostgresSettings, Production, Receiver, Repair, Run, Secret, ServerSettings, Service, Source,
    SourceKind, Step, StopPolicy, Window,
};
pub use scrape::{RelabelRule, Scrape, ScrapeLimits};
pub use target::{Address, Runner, RunnerTemplate, Target};
pub use test::{
    AmqpTest, DnsRecord, DnsTest, GrpcTest, HeaderMatch, HelloTest, HttpTest, HttpVersion,
    MemcachedTest, MysqlTest, NagiosTest, Place, PostgresTest, Proves, RedisTest, SqlExpectation,
    StoreProtocol, TcpTest, Test, TestKind, TlsOptions, TlsTest, is_credential,
};
pub use time::{DurationError, Timestamp, duration_text, format_duration, parse_duration};
