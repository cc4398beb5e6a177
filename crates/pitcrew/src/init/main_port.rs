//! Of several ports of one program, the one it is known by; and what is believed of one that says nothing.

use std::net::SocketAddr;

use super::hello::{self, Guess, Speech};

/// The port it is known by: that of the program's own protocol, or the first that says something known.
pub(super) fn main_port(said: &[(SocketAddr, &Speech)], guess: Option<Guess>) -> Option<usize> {
    let own = said
        .iter()
        .position(|(_, speech)| guess.is_some() && guess_of(speech) == guess);
    let known = || {
        said.iter()
            .position(|(_, speech)| guess_of(speech).is_some())
    };
    // A store that is known by its name and says nothing hangs just now.
    let usual = || {
        let guess = guess.filter(|guess| *guess != Guess::Http)?;
        let usual = said
            .iter()
            .position(|(address, _)| hello::guess_by_port(address.port()) == Some(guess));
        usual.or_else(|| (said.len() == 1).then_some(0))
    };
    own.or_else(known).or_else(usual)
}

fn guess_of(speech: &Speech) -> Option<Guess> {
    Some(match speech {
        Speech::Http { .. } => Guess::Http,
        Speech::Redis => Guess::Redis,
        Speech::Postgres => Guess::Postgres,
        Speech::Mysql => Guess::Mysql,
        Speech::Memcached => Guess::Memcached,
        Speech::Amqp => Guess::Amqp,
        Speech::Other { .. } => return None,
    })
}

pub(super) fn believed(speech: &Speech, guess: Option<Guess>) -> Speech {
    match (speech, guess) {
        (Speech::Other { .. }, Some(Guess::Redis)) => Speech::Redis,
        (Speech::Other { .. }, Some(Guess::Postgres)) => Speech::Postgres,
        (Speech::Other { .. }, Some(Guess::Mysql)) => Speech::Mysql,
        (Speech::Other { .. }, Some(Guess::Memcached)) => Speech::Memcached,
        (Speech::Other { .. }, Some(Guess::Amqp)) => Speech::Amqp,
        (speech, _) => speech.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn the_own_protocol_of_a_known_program_is_its_main_port() {
        let socket = |port: u16| (port, SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port));
        let http = Speech::Http { status: Some(200) };
        let other = Speech::Other {
            words: String::new(),
        };
        for (said, guess, main) in [
            (
                vec![(15_672, http.clone()), (5_672, Speech::Amqp)],
                Some(Guess::Amqp),
                Some(1),
            ),
            (vec![(1, other.clone()), (2, http.clone())], None, Some(1)),
            (vec![(1, other.clone())], None, None),
            // A hung one that is known by its name.
            (vec![(6_400, other.clone())], Some(Guess::Redis), Some(0)),
            (
                vec![(1, other.clone()), (6_379, other.clone())],
                Some(Guess::Redis),
                Some(1),
            ),
            (vec![(80, other.clone())], Some(Guess::Http), None),
        ] {
            let said: Vec<(SocketAddr, &Speech)> = said
                .iter()
                .map(|(port, speech)| (socket(*port).1, speech))
                .collect();
            assert_eq!(main_port(&said, guess), main, "{said:?}");
        }
    }
}
