//! A host's power, out of band: through its controller, which has a network and a supply of its own.
//!
//! Before anything is cut, the controller must say what it controls and whether that is on. What it answers then is no
//! proof: a controller may say OK and do nothing. Whoever ordered it compares the host's boot id.

mod ipmi;
mod redfish;

use std::time::Duration;

use pitcrew_model::{PowerController, PowerRule, TargetId};

use crate::Answer;

/// The longest that one power cycle may take, questions before it included.
pub(crate) const LIMIT: Duration = Duration::from_secs(150);

/// How often and how long it is asked whether the power is as it should be.
const POLL: Duration = Duration::from_millis(500);
const PATIENCE: Duration = Duration::from_secs(30);

/// What a controller was asked for, and why it did not come.
enum Trouble {
    /// It certainly has had no effect.
    Without(String),
    /// It may have taken effect.
    Unclear(String),
}

impl From<Trouble> for Answer {
    fn from(trouble: Trouble) -> Self {
        match trouble {
            Trouble::Without(why) => Self::failed(why),
            Trouble::Unclear(why) => Self::unknown(why),
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    On,
    Off,
}

/// Takes the host's power away and gives it back; one that is off is switched on.
pub(crate) async fn cycle(rules: &[PowerRule], host: &TargetId) -> Answer {
    let Some(rule) = rules.iter().find(|rule| rule.is_for(host)) else {
        return Answer::failed(format!(
            "nothing under `power` in the server's configuration is for {host}"
        ));
    };
    let cycled = match &rule.controller {
        PowerController::Redfish {
            url,
            username,
            password,
            authorities,
            system,
        } => match fill(url, host) {
            Ok(url) => {
                let account = redfish::Account {
                    username,
                    password: password.expose(),
                    authorities: authorities.as_deref(),
                };
                redfish::cycle(&url, &account, system.as_deref()).await
            }
            Err(why) => Err(Trouble::Without(why)),
        },
        PowerController::Ipmi {
            address,
            username,
            password,
            cipher_suite,
        } => match fill(address, host) {
            Ok(address) => {
                let controller = ipmi::Controller {
                    address,
                    username,
                    password: password.expose(),
                    cipher_suite: *cipher_suite,
                };
                controller.cycle().await
            }
            Err(why) => Err(Trouble::Without(why)),
        },
    };
    cycled.map_or_else(Answer::from, Answer::done)
}

/// A host's id comes from discovery: only one that can't be more than a part of a name may say where the password goes.
fn fill(template: &str, host: &TargetId) -> Result<String, String> {
    if !template.contains("{host}") {
        return Ok(template.to_owned());
    }
    let id = host.as_str();
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    if !id.chars().all(is_plain) || id.starts_with(['-', '.']) {
        return Err(format!(
            "`{id}` can't be part of its controller's address `{template}`: name the controller without `{{host}}`"
        ));
    }
    Ok(template.replace("{host}", id))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_plain_id_becomes_part_of_an_address() {
        let filled = |id: &str| fill("https://{host}.bmc.example", &TargetId::new(id).unwrap());
        assert_eq!(filled("web-7").unwrap(), "https://web-7.bmc.example");
        for id in ["evil.example/", "a@b", "-x", "..", "a:1", "a b", "ä"] {
            assert!(filled(id).is_err(), "{id}");
        }
        let fixed = fill("10.0.0.1", &TargetId::new("a/b").unwrap());
        assert_eq!(fixed.unwrap(), "10.0.0.1");
    }
}
