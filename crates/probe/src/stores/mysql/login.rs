//! How the two login plugins in use prove a password without sending it.
//!
//! MySQL's own descriptions: `mysql_native_password` (SHA-1) and `caching_sha2_password` (SHA-256, and
//! RSA with the server's key when its cache doesn't know the user yet).

use aws_lc_rs::{
    digest::{Digest, SHA1_FOR_LEGACY_USE_ONLY, SHA256, digest},
    rsa::{OAEP_SHA1_MGF1SHA1, OaepPublicEncryptingKey, PublicEncryptingKey},
};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plugin {
    NativePassword,
    CachingSha2,
}

impl Plugin {
    /// `None` for plugins that aren't spoken, among them the one that sends the password in the clear.
    pub(super) fn named(name: &str) -> Option<Self> {
        match name {
            "mysql_native_password" => Some(Self::NativePassword),
            "caching_sha2_password" => Some(Self::CachingSha2),
            _ => None,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::NativePassword => "mysql_native_password",
            Self::CachingSha2 => "caching_sha2_password",
        }
    }

    /// Empty for an empty password, by both plugins' definition.
    pub(super) fn proof(self, password: &str, nonce: &[u8]) -> Vec<u8> {
        if password.is_empty() {
            return Vec::new();
        }
        let (once, mask) = match self {
            Self::NativePassword => {
                let sha1 = |bytes: &[u8]| digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
                let once = sha1(password.as_bytes());
                let twice = sha1(once.as_ref());
                (once, sha1(&[nonce, twice.as_ref()].concat()))
            }
            Self::CachingSha2 => {
                let sha256 = |bytes: &[u8]| digest(&SHA256, bytes);
                let once = sha256(password.as_bytes());
                let twice = sha256(once.as_ref());
                (once, sha256(&[twice.as_ref(), nonce].concat()))
            }
        };
        masked(&once, &mask)
    }
}

fn masked(once: &Digest, mask: &Digest) -> Vec<u8> {
    let pairs = once.as_ref().iter().zip(mask.as_ref());
    pairs.map(|(byte, mask)| byte ^ mask).collect()
}

/// The password for the server alone to read: masked with the nonce, then under its public key.
pub(super) fn sealed(password: &str, nonce: &[u8], key_pem: &[u8]) -> Result<Vec<u8>, String> {
    let key = SubjectPublicKeyInfoDer::from_pem_slice(key_pem)
        .map_err(|error| format!("the server's key can't be read: {error}"))?;
    let key = PublicEncryptingKey::from_der(&key)
        .and_then(|key| OaepPublicEncryptingKey::new(key).map_err(Into::into))
        .map_err(|error| format!("the server's key can't be used: {error}"))?;
    let masked: Vec<u8> = password
        .bytes()
        .chain([0])
        .zip(nonce.iter().cycle())
        .map(|(byte, mask)| byte ^ mask)
        .collect();
    let mut room = vec![0; key.key_size_bytes()];
    let length = key
        .encrypt(&OAEP_SHA1_MGF1SHA1, &masked, &mut room, None)
        .map_err(|_unspecified| "the password is too long for the server's key".to_owned())?
        .len();
    room.truncate(length);
    Ok(room)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// The server knows only the password's double hash: it unmasks the proof with that and hashes once.
        #[test]
        fn a_proof_convinces_a_server_that_knows_only_the_double_hash(
            password in ".{1,40}",
            nonce in proptest::collection::vec(1u8.., 20),
        ) {
            let sha1 = |bytes: &[u8]| digest(&SHA1_FOR_LEGACY_USE_ONLY, bytes);
            let stored = sha1(sha1(password.as_bytes()).as_ref());
            let mask = sha1(&[&nonce[..], stored.as_ref()].concat());
            let proof = Plugin::NativePassword.proof(&password, &nonce);
            let once: Vec<u8> = proof.iter().zip(mask.as_ref()).map(|(byte, mask)| byte ^ mask).collect();
            prop_assert!(sha1(&once).as_ref() == stored.as_ref());

            let sha256 = |bytes: &[u8]| digest(&SHA256, bytes);
            let stored = sha256(sha256(password.as_bytes()).as_ref());
            let mask = sha256(&[stored.as_ref(), &nonce[..]].concat());
            let proof = Plugin::CachingSha2.proof(&password, &nonce);
            let once: Vec<u8> = proof.iter().zip(mask.as_ref()).map(|(byte, mask)| byte ^ mask).collect();
            prop_assert!(sha256(&once).as_ref() == stored.as_ref());
        }

        #[test]
        fn no_key_panics_the_sealer(key in proptest::collection::vec(any::<u8>(), 0..200), nonce in proptest::collection::vec(any::<u8>(), 0..20)) {
            prop_assert!(sealed("secret", &nonce, &key).is_err());
        }
    }

    #[test]
    fn an_empty_password_is_proven_by_nothing() {
        assert!(Plugin::NativePassword.proof("", b"nonce").is_empty());
        assert!(Plugin::CachingSha2.proof("", b"nonce").is_empty());
    }
}
