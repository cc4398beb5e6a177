//! Asking the server. Every failure becomes what the user can do about it.

use std::{error::Error, fs, io, time::Duration};

use futures_util::{StreamExt, stream};
use pitcrew_server::api::{Page, Problem};
use reqwest::{Method, RequestBuilder, Response, StatusCode, Url};
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use tokio::{io::AsyncReadExt, runtime::Runtime};

use crate::{arguments::General, failure::Failure, words::with_local_times};

/// A little longer than the server's own deadline, so that its answer says why.
const DEADLINE: Duration = Duration::from_secs(15);

/// For tests run on request and for verifying a long ledger.
pub(crate) const DEADLINE_LONG: Duration = Duration::from_secs(24 * 3_600);

/// Read and sent at a time.
const UPLOAD_BYTES: usize = 256 << 10;

/// How a server says what is wrong; of metrics as Prometheus does.
#[derive(Deserialize)]
#[serde(untagged)]
enum Told {
    Problem(Problem),
    Prometheus { error: String },
}

pub(crate) struct Client {
    runtime: Runtime,
    http: reqwest::Client,
    server: Url,
    token: Option<String>,
    by: String,
}

impl Client {
    pub(crate) fn new(general: &General) -> Result<Self, Failure> {
        let [server] = &general.server[..] else {
            return Err(Failure::Usage(
                "several servers are named: ask one of them, with --server URL".to_owned(),
            ));
        };
        let server = server_url(server)?;
        let token = general.token_file.as_ref().map(|path| {
            fs::read_to_string(path)
                .map(|token| token.trim().to_owned())
                .map_err(|error| {
                    Failure::Usage(format!(
                        "failed to read the token file {}: {error}",
                        path.display()
                    ))
                })
        });
        let bug =
            |what: &str, error: &dyn Error| Failure::Bug(format!("failed to {what}: {error}"));
        let mut http = reqwest::Client::builder().connect_timeout(Duration::from_secs(5));
        if is_loopback(&server) {
            http = http.no_proxy();
        }
        if server.scheme() == "http" {
            // The system may have no authorities at all, and nobody would be judged by them.
            http = http.tls_certs_only([]);
        }
        Ok(Self {
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(|error| bug("start", &error))?,
            http: http.build().map_err(|error| no_http(&error))?,
            server,
            token: token.transpose()?,
            by: whoami(),
        })
    }

    pub(crate) fn get<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, Failure> {
        self.ask(Method::GET, path, query, None::<&()>, DEADLINE)
    }

    pub(crate) fn get_long<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, Failure> {
        self.ask(Method::GET, path, query, None::<&()>, DEADLINE_LONG)
    }

    pub(crate) fn post<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.ask(Method::POST, path, &[], Some(body), DEADLINE)
    }

    pub(crate) fn post_long<T: DeserializeOwned>(
        &self,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, Failure> {
        self.ask(Method::POST, path, &[], Some(body), DEADLINE_LONG)
    }

    /// Without a body.
    pub(crate) fn post_query<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
    ) -> Result<T, Failure> {
        self.ask(Method::POST, path, query, None::<&()>, DEADLINE_LONG)
    }

    pub(crate) fn delete<T: DeserializeOwned>(&self, path: &[&str]) -> Result<T, Failure> {
        self.ask(Method::DELETE, path, &[], None::<&()>, DEADLINE)
    }

    /// Up to `limit` items over as many pages as it takes, and whether there are more.
    pub(crate) fn list<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        limit: usize,
    ) -> Result<(Vec<T>, bool), Failure> {
        let mut items: Vec<T> = Vec::new();
        let mut after: Option<String> = None;
        loop {
            let mut query = query.to_vec();
            query.push(("limit", (limit - items.len()).clamp(1, 1_000).to_string()));
            query.extend(after.map(|after| ("after", after)));
            let page: Page<T> = self.get(path, &query)?;
            items.extend(page.items);
            match page.next {
                Some(_) if items.len() >= limit => return Ok((items, true)),
                Some(next) => after = Some(next),
                None => return Ok((items, false)),
            }
        }
    }

    /// Writes the body of the answer as it comes.
    pub(crate) fn copy(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        write: &mut dyn io::Write,
    ) -> Result<(), Failure> {
        self.runtime.block_on(async {
            let response = self.send(Method::GET, path, query, None::<&()>, DEADLINE_LONG).await?;
            let mut chunks = response.bytes_stream();
            while let Some(chunk) = chunks.next().await {
                let chunk = chunk.map_err(|_broken| {
                    Failure::Refused("the server broke off before the end: what was printed is not complete; its log says why".to_owned())
                })?;
                write.write_all(&chunk).map_err(|error| crate::output::output_failed(&error))?;
            }
            Ok(())
        })
    }

    /// Sends a file as it is read.
    pub(crate) fn upload<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&str, String)],
        file: fs::File,
    ) -> Result<T, Failure> {
        let file = tokio::fs::File::from_std(file);
        let chunks = stream::try_unfold(file, |mut file| async move {
            let mut chunk = Vec::with_capacity(UPLOAD_BYTES);
            let bytes = file.read_buf(&mut chunk).await?;
            Ok::<_, io::Error>((bytes > 0).then_some((chunk, file)))
        });
        let request = self.request(Method::POST, path, query, DEADLINE_LONG);
        let request = request.body(reqwest::Body::wrap_stream(chunks));
        self.runtime.block_on(async {
            let response = self.sent(request).await?;
            self.understood(response).await
        })
    }

    fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&impl Serialize>,
        deadline: Duration,
    ) -> Result<T, Failure> {
        self.runtime.block_on(async {
            let response = self.send(method, path, query, body, deadline).await?;
            self.understood(response).await
        })
    }

    async fn understood<T: DeserializeOwned>(&self, response: Response) -> Result<T, Failure> {
        let bytes = response
            .bytes()
            .await
            .map_err(|error| self.unreachable(&error))?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Failure::Refused(format!(
                "the answer of {} is not understood ({error}); is it a Pitcrew of another version?",
                self.server
            ))
        })
    }

    async fn send(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        body: Option<&impl Serialize>,
        deadline: Duration,
    ) -> Result<Response, Failure> {
        let mut request = self.request(method, path, query, deadline);
        if let Some(body) = body {
            request = request.json(body);
        }
        self.sent(request).await
    }

    fn request(
        &self,
        method: Method,
        path: &[&str],
        query: &[(&str, String)],
        deadline: Duration,
    ) -> RequestBuilder {
        let request = self
            .http
            .request(method, self.url(path, query))
            .timeout(deadline)
            .header("x-pitcrew-user", &self.by);
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    async fn sent(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request
            .send()
            .await
            .map_err(|error| self.unreachable(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.problem(response).await)
    }

    fn url(&self, path: &[&str], query: &[(&str, String)]) -> Url {
        let mut url = self.server.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.pop_if_empty().extend(["api", "v1"]).extend(path);
        }
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        url
    }

    fn unreachable(&self, error: &reqwest::Error) -> Failure {
        let why = if error.is_timeout() {
            "no answer in time".to_owned()
        } else {
            root_cause(error)
        };
        Failure::Unreachable(format!(
            "the server at {} can't be reached: {why}. Start one: `pitcrew serve --config DIR`, or name another: `--server URL`",
            self.server.as_str().trim_end_matches('/')
        ))
    }

    async fn problem(&self, response: Response) -> Failure {
        let status = response.status();
        let told = response.json::<Told>().await;
        let detail = match told {
            Ok(Told::Problem(problem)) => with_local_times(&problem.detail),
            Ok(Told::Prometheus { error }) => error,
            Err(_other) => {
                return Failure::Refused(format!(
                    "{} answers {status}, not as a Pitcrew does; name another server: `--server URL`",
                    self.server
                ));
            }
        };
        match status {
            StatusCode::BAD_REQUEST
            | StatusCode::UNPROCESSABLE_ENTITY
            | StatusCode::UNAUTHORIZED
            | StatusCode::FORBIDDEN => Failure::Usage(detail),
            StatusCode::INTERNAL_SERVER_ERROR => Failure::Bug(detail),
            _ => Failure::Refused(detail),
        }
    }
}

fn server_url(text: &str) -> Result<Url, Failure> {
    let invalid = |why: &str| {
        Failure::Usage(format!(
            "`{text}` is not the address of a server: {why}; write it like http://127.0.0.1:7400"
        ))
    };
    let url = Url::parse(text).map_err(|error| invalid(&error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(invalid("it is neither http nor https"));
    }
    Ok(url)
}

fn no_http(error: &reqwest::Error) -> Failure {
    Failure::Usage(format!(
        "HTTPS can't be used on this machine: {}; are the system's certificate authorities (ca-certificates) installed?",
        root_cause(error)
    ))
}

fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(|host| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost"
            || host
                .parse::<std::net::IpAddr>()
                .is_ok_and(|ip| ip.is_loopback())
    })
}

/// The innermost reason: those around it only say that something failed.
fn root_cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    match cause.downcast_ref::<io::Error>().map(io::Error::kind) {
        Some(io::ErrorKind::ConnectionRefused) => "connection refused".to_owned(),
        Some(io::ErrorKind::ConnectionReset) => "connection reset".to_owned(),
        Some(_) | None => cause.to_string(),
    }
}

/// For the record: `user@host`, and under sudo the one who called it.
fn whoami() -> String {
    let named = |name: &&str| std::env::var(name).ok().filter(|user| !user.is_empty());
    let user = ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(named);
    let user = user
        .or_else(own_user)
        .unwrap_or_else(|| "somebody".to_owned());
    let host = fs::read_to_string("/proc/sys/kernel/hostname");
    let host = host.unwrap_or_else(|_| "localhost".to_owned());
    let by = format!("{user}@{}", host.trim());
    by.chars()
        .filter(char::is_ascii_graphic)
        .take(128)
        .collect()
}

/// The name of whom this process runs as, where the environment has none.
fn own_user() -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    let id = fs::metadata("/proc/self").ok()?.uid().to_string();
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let mut lines = users.lines().map(|line| line.split(':'));
    lines.find_map(|mut fields| {
        let name = fields.next()?;
        (fields.nth(1)? == id).then(|| name.to_owned())
    })
}
