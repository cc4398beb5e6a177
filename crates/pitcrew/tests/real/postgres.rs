//! PostgreSQL: clients that never leave use up its connections, so it turns everybody else away.

use std::{
    fs,
    io::{Read, Write},
    net::TcpStream,
    os::unix::fs::PermissionsExt,
    process::Command,
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    production::{Process, Production, free_port, has, wait_for},
    story::{Kept, RESTART, actions, cured},
};

const PROGRAMS: &str = "/usr/lib/postgresql/15/bin";

/// A new cluster in `{dir}/store`, which the user `postgres` owns and anybody on this machine may log in to.
fn make_cluster(production: &Production) {
    fs::set_permissions(production.path(), fs::Permissions::from_mode(0o711)).expect("mode");
    let store = production.path().join("store");
    fs::create_dir(&store).expect("the store's directory");
    run(Command::new("chown").arg("postgres").arg(&store));
    run(as_postgres(production, "initdb")
        .args(["--no-sync", "--auth=trust", "-D"])
        .arg(&store));
}

fn as_postgres(production: &Production, program: &str) -> Command {
    let mut command = Command::new("setpriv");
    command
        .args([
            "--reuid=postgres",
            "--regid=postgres",
            "--init-groups",
            "--",
        ])
        .arg(format!("{PROGRAMS}/{program}"))
        .current_dir(production.path());
    command
}

fn run(command: &mut Command) {
    let output = command.output().expect("the program runs");
    assert!(output.status.success(), "{command:?}: {output:?}");
}

/// Logs in as `postgres` and stays. `Err` is what the server says instead.
fn log_in(port: u16) -> Result<TcpStream, String> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).map_err(|error| error.to_string())?;
    stream
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a time limit");
    let parameters = b"\0\x03\0\0user\0postgres\0database\0postgres\0\0";
    let length = u32::try_from(parameters.len() + 4).expect("it is short");
    stream
        .write_all(&[&length.to_be_bytes()[..], parameters].concat())
        .map_err(|error| error.to_string())?;
    let mut said = Vec::new();
    let mut part = [0; 4096];
    // Until it is ready for queries, or an error.
    while !said.ends_with(b"Z\0\0\0\x05I") {
        let read = stream.read(&mut part).map_err(|error| error.to_string())?;
        said.extend_from_slice(&part[..read]);
        if read == 0 || said.windows(6).any(|part| part == b"C53300") {
            return Err(String::from_utf8_lossy(&said).into_owned());
        }
    }
    Ok(stream)
}

#[test]
fn killed_hung_and_out_of_connections_it_comes_back() {
    if !has(&format!("{PROGRAMS}/postgres"), "postgresql") {
        return;
    }
    let port = free_port();
    let settings =
        format!("-p {port} -c listen_addresses=127.0.0.1 -c max_connections=12 -c fsync=off");
    let runs_as = format!(
        "{{ listener: {{ port: {port}, exe: postgres, user: postgres, directory: '{{dir}}', grace: 1s,
           command: [{PROGRAMS}/postgres, -D, '{{dir}}/store', -k, '{{dir}}/store', {}] }} }}",
        settings.replace(' ', ", ")
    );
    let kept = Kept {
        port,
        runs_as: &runs_as,
        test: "postgres: { user: postgres, database: postgres, query: { sql: 'select 6 * 7', matches: '^42$' } }",
        steps: RESTART,
    };
    let mut production = Production::new(&kept.yaml());
    make_cluster(&production);
    let store = production.path().join("store");
    let mut first = Process::start(
        as_postgres(&production, "postgres")
            .arg("-D")
            .arg(&store)
            .arg("-k")
            .arg(&store)
            .args(settings.split(' ')),
    );
    production.serve();
    let (production, target) = (&production, &kept.target());

    for signal in [Signal::KILL, Signal::STOP] {
        let before = production.processes("postgres");
        let orders = cured(production, target, || {
            production.signal_all("postgres", signal);
            if signal == Signal::KILL {
                // As its init would: PostgreSQL takes a dead postmaster that nobody reaped for a living one.
                first.0.wait().expect("the first postmaster ended");
            }
        });
        assert_eq!(actions(&orders), ["restart"], "{orders:?}");
        assert!(
            production
                .processes("postgres")
                .iter()
                .all(|pid| !before.contains(pid))
        );
    }

    let mut clients = Vec::new();
    let orders = cured(production, target, || {
        // Pitcrew's own test takes a connection now and then, and gives it back.
        wait_for("no connection to be left, three times", || {
            for _ in 0..3 {
                match log_in(port) {
                    Ok(client) => {
                        clients.push(client);
                        return Err(format!("{} are taken", clients.len()));
                    }
                    Err(said) => assert!(said.contains("too many clients"), "{said}"),
                }
            }
            Ok(())
        });
    });
    assert_eq!(actions(&orders), ["restart"], "{orders:?}");
    let confirmed = production
        .records()
        .into_iter()
        .rev()
        .find(|entry| entry["record"]["fact"]["kind"] == "confirmed");
    let evidence =
        confirmed.expect("a confirmed case")["record"]["fact"]["findings"][0]["evidence"]
            .to_string();
    assert!(
        evidence.contains("too many clients"),
        "in its own words: {evidence}"
    );
    production.says(&["ledger", "verify"], 0);
}
