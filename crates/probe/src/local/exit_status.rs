//! The names of exit statuses and signals as systemd prints them: `203/EXEC`, `9/KILL`.

/// How a child ended, `si_code` of waitid(2): exited, killed, killed with a core dump.
const EXITED: i32 = 1;
const KILLED: i32 = 2;
const DUMPED: i32 = 3;

/// What systemd itself exits a service with when it can't even start it; systemd.exec(5).
const STATUSES: [(i32, &str); 20] = [
    (200, "CHDIR"),
    (201, "NICE"),
    (202, "FDS"),
    (203, "EXEC"),
    (204, "MEMORY"),
    (205, "LIMITS"),
    (206, "OOM_ADJUST"),
    (208, "STDIN"),
    (209, "STDOUT"),
    (210, "CHROOT"),
    (214, "SETSCHEDULER"),
    (215, "CPUAFFINITY"),
    (216, "GROUP"),
    (217, "USER"),
    (218, "CAPABILITIES"),
    (219, "CGROUP"),
    (222, "STDERR"),
    (226, "NAMESPACE"),
    (233, "RUNTIME_DIRECTORY"),
    (238, "STATE_DIRECTORY"),
];

const SIGNALS: [(i32, &str); 11] = [
    (1, "HUP"),
    (2, "INT"),
    (3, "QUIT"),
    (4, "ILL"),
    (6, "ABRT"),
    (7, "BUS"),
    (8, "FPE"),
    (9, "KILL"),
    (11, "SEGV"),
    (13, "PIPE"),
    (15, "TERM"),
];

/// `None` when nothing has ended yet.
pub(super) fn words(code: i32, status: i32) -> Option<String> {
    let names: &[(i32, &str)] = match code {
        EXITED => &STATUSES,
        KILLED | DUMPED => &SIGNALS,
        _ => return None,
    };
    let name = names.iter().find(|(number, _)| *number == status);
    Some(match name {
        Some((_, name)) => format!("{status}/{name}"),
        None => status.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_and_signals_are_named_as_systemd_does() {
        for (code, status, named) in [
            (EXITED, 203, Some("203/EXEC")),
            (EXITED, 1, Some("1")),
            (KILLED, 9, Some("9/KILL")),
            (DUMPED, 11, Some("11/SEGV")),
            (0, 0, None),
        ] {
            assert_eq!(words(code, status).as_deref(), named);
        }
    }
}
