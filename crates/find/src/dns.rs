//! Names that list targets: A, AAAA and SRV records.
//!
//! "There is no such name" is an answer, and an empty one; "the server failed" and silence are none.
//! Names are absolute, with or without the last dot: a search list would make the answer depend on the host
//! that asks. Nothing is cached: how often to ask is the configuration's word, and the server caches anyway.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_resolver::{
    TokioResolver,
    config::{ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig},
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
    proto::{
        op::ResponseCode,
        rr::{RData, RecordType},
    },
};
use pitcrew_model::{DnsRecord, Source};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

use crate::{
    Answer, FindError,
    asker::{DEADLINE, PartAnswer},
    draft::Draft,
    groups::Group,
};

/// Names asked at once.
const CONCURRENCY: usize = 16;

/// Of one try; there are two, and all names together have [`DEADLINE`].
const TRY: Duration = Duration::from_secs(3);

/// All names, each a part of its own, in the source's order.
pub(crate) async fn ask(
    source: &Source,
    names: &[String],
    record: DnsRecord,
    port: Option<u16>,
    server: Option<SocketAddr>,
) -> Vec<PartAnswer> {
    let asked = match record_type(record) {
        Some(asked) => resolver(server).map(|resolver| (asked, resolver)),
        None => Err("only A, AAAA and SRV records list targets".to_owned()),
    };
    let (record_type, resolver) = match asked {
        Ok(asked) => asked,
        Err(why) => {
            let failed = |name: &String| (name.clone(), Err(failure(name, record, why.clone())));
            return names.iter().map(failed).collect();
        }
    };
    let mut answers = look_up_all(&resolver, names, record_type).await;
    names
        .iter()
        .zip(1..)
        .map(|(name, number)| {
            let answer = answers
                .iter()
                .position(|(at, _)| *at == number)
                .map_or_else(
                    || Err("the question was dropped".to_owned()),
                    |at| answers.swap_remove(at).1,
                )
                .map(|records| targets(source, name, port, &records))
                .map_err(|why| failure(name, record, why));
            (name.clone(), answer)
        })
        .collect()
}

fn record_type(record: DnsRecord) -> Option<RecordType> {
    match record {
        DnsRecord::A => Some(RecordType::A),
        DnsRecord::Aaaa => Some(RecordType::AAAA),
        DnsRecord::Srv => Some(RecordType::SRV),
        DnsRecord::Txt | DnsRecord::Mx | DnsRecord::Cname | DnsRecord::Ns | DnsRecord::Ptr => None,
    }
}

fn failure(name: &str, record: DnsRecord, why: String) -> FindError {
    FindError::Dns {
        name: name.to_owned(),
        record: match record {
            DnsRecord::A => "A",
            DnsRecord::Aaaa => "AAAA",
            DnsRecord::Srv => "SRV",
            DnsRecord::Txt => "TXT",
            DnsRecord::Mx => "MX",
            DnsRecord::Cname => "CNAME",
            DnsRecord::Ns => "NS",
            DnsRecord::Ptr => "PTR",
        },
        why,
    }
}

/// Of the system, or of one server; built for each round, because `/etc/resolv.conf` may have changed.
fn resolver(server: Option<SocketAddr>) -> Result<TokioResolver, String> {
    let mut builder = match server {
        None => TokioResolver::builder_tokio().map_err(|error| error.to_string())?,
        Some(server) => {
            let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
            (udp.port, tcp.port) = (server.port(), server.port());
            let server = NameServerConfig::new(server.ip(), true, vec![udp, tcp]);
            let config = ResolverConfig::from_name_servers(vec![server]);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let options = builder.options_mut();
    options.cache_size = 0;
    options.timeout = TRY;
    options.attempts = 2;
    if server.is_some() {
        options.use_hosts_file = ResolveHosts::Never;
    }
    builder.build().map_err(|error| error.to_string())
}

type Answered = (u32, Result<Vec<RData>, String>);

/// The answers as they come, each with the number of its name, from 1.
async fn look_up_all(
    resolver: &TokioResolver,
    names: &[String],
    record_type: RecordType,
) -> Vec<Answered> {
    let deadline = Instant::now() + DEADLINE;
    let permits = Arc::new(Semaphore::new(CONCURRENCY));
    let mut under_way = JoinSet::new();
    for (number, name) in (1..).zip(names) {
        let (resolver, permits, name) = (resolver.clone(), Arc::clone(&permits), name.clone());
        under_way.spawn(async move {
            let look_up = async {
                let _permit = permits.acquire().await;
                look_up(&resolver, &name, record_type).await
            };
            let answer = tokio::time::timeout_at(deadline, look_up)
                .await
                .unwrap_or_else(|_| Err(format!("no answer within {} s", DEADLINE.as_secs())));
            (number, answer)
        });
    }
    under_way.join_all().await
}

/// No such name and no such record are an empty answer.
async fn look_up(
    resolver: &TokioResolver,
    name: &str,
    record_type: RecordType,
) -> Result<Vec<RData>, String> {
    let relative = name.strip_suffix('.').unwrap_or(name);
    if relative.is_empty() {
        return Err("it is no name".to_owned());
    }
    let absolute = format!("{relative}.");
    match resolver.lookup(absolute, record_type).await {
        Ok(found) => {
            let records = found.answers().iter().map(|record| record.data.clone());
            Ok(records
                .filter(|data| data.record_type() == record_type)
                .collect())
        }
        Err(NetError::Dns(DnsError::NoRecordsFound(none)))
            if matches!(
                none.response_code,
                ResponseCode::NXDomain | ResponseCode::NoError
            ) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(error.to_string()),
    }
}

fn targets(source: &Source, name: &str, port: Option<u16>, records: &[RData]) -> Answer {
    let mut draft = Draft::new(source);
    let addresses = records.iter().filter_map(|data| match data {
        RData::A(address) => Some(with_port(IpAddr::V4(address.0), port)),
        RData::AAAA(address) => Some(with_port(IpAddr::V6(address.0), port)),
        // A lone dot says that the service is decidedly not there.
        RData::SRV(service) if service.target.is_root() => None,
        RData::SRV(service) => {
            let host = service.target.to_ascii();
            Some(format!("{}:{}", host.trim_end_matches('.'), service.port))
        }
        _ => None,
    });
    let mut group = Group {
        targets: addresses.collect(),
        labels: vec![("__meta_dns_name".to_owned(), name.to_owned())],
    };
    // Servers rotate their answers; the order means nothing.
    group.targets.sort_unstable();
    draft.add(name, &group);
    draft.finish()
}

fn with_port(address: IpAddr, port: Option<u16>) -> String {
    match port {
        Some(port) => SocketAddr::new(address, port).to_string(),
        None => address.to_string(),
    }
}
