//! An order as it leaves the server: addressed to one boot of one host, and signed.
//!
//! The signature is over the very bytes of the payload, so that nothing depends on two sides writing JSON alike.

use aws_lc_rs::{
    error::{KeyRejected, Unspecified},
    signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey},
};
use pitcrew_model::{OperationId, Order};
use serde::{Deserialize, Serialize};

use crate::{HostName, from_hex, to_hex};

/// Precedes the payload under the signature: no other use of the key can be taken for an order.
const CONTEXT: &[u8] = b"pitcrew order 1\0";

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedOrder {
    /// [`Addressed`] as JSON.
    payload: String,
    /// Ed25519, 128 hexadecimal digits.
    signature: String,
}

impl SignedOrder {
    /// What it says it is, whoever wrote it: to tell the server which order was refused, and for nothing else.
    #[must_use]
    pub fn claimed(&self) -> Option<OperationId> {
        let addressed: Addressed = serde_json::from_str(&self.payload).ok()?;
        Some(addressed.order.operation)
    }
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addressed {
    pub installation: String,
    pub host: HostName,
    pub boot_id: String,
    pub order: Order,
}

/// Why an order is not the server's.
#[derive(Debug, thiserror::Error)]
pub enum Forged {
    #[error("its signature is not the server's")]
    Signature,
    #[error("it is signed, but no order: {0}")]
    Payload(#[source] serde_json::Error),
}

/// The server's half of the key.
pub struct OrderSigner(Ed25519KeyPair);

impl OrderSigner {
    /// A new private key, PKCS #8.
    pub fn generate() -> Result<Vec<u8>, Unspecified> {
        let document = Ed25519KeyPair::generate_pkcs8(&aws_lc_rs::rand::SystemRandom::new())?;
        Ok(document.as_ref().to_vec())
    }

    pub fn from_pkcs8(bytes: &[u8]) -> Result<Self, KeyRejected> {
        Ed25519KeyPair::from_pkcs8(bytes).map(Self)
    }

    #[must_use]
    pub fn key(&self) -> OrderKey {
        OrderKey(self.0.public_key().as_ref().to_vec())
    }

    pub fn sign(&self, order: &Addressed) -> Result<SignedOrder, serde_json::Error> {
        let payload = serde_json::to_string(order)?;
        let signature = self.0.sign(&signed_bytes(&payload));
        Ok(SignedOrder {
            signature: to_hex(signature.as_ref()),
            payload,
        })
    }
}

/// The half that agents have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderKey(Vec<u8>);

impl OrderKey {
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let bytes = from_hex(text)?;
        (bytes.len() == 32).then_some(Self(bytes))
    }

    #[must_use]
    pub fn to_text(&self) -> String {
        to_hex(&self.0)
    }

    /// The order, when it is signed with the other half of this key.
    pub fn verify(&self, signed: &SignedOrder) -> Result<Addressed, Forged> {
        let signature = from_hex(&signed.signature).ok_or(Forged::Signature)?;
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(&signed_bytes(&signed.payload), &signature)
            .map_err(|_unspecified| Forged::Signature)?;
        serde_json::from_str(&signed.payload).map_err(Forged::Payload)
    }
}

fn signed_bytes(payload: &str) -> Vec<u8> {
    [CONTEXT, payload.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::frame::tests::order;

    fn addressed() -> Addressed {
        Addressed {
            installation: "i1".into(),
            host: HostName::new("web-1").unwrap(),
            boot_id: "b1".into(),
            order: order(),
        }
    }

    fn signer() -> OrderSigner {
        OrderSigner::from_pkcs8(&OrderSigner::generate().unwrap()).unwrap()
    }

    #[test]
    fn a_signed_order_is_read_back_with_the_other_half_of_the_key_only() {
        let signer = signer();
        let signed = signer.sign(&addressed()).unwrap();
        let key = OrderKey::parse(&signer.key().to_text()).unwrap();
        assert_eq!(key.verify(&signed).unwrap(), addressed());
        let other = self::signer().key();
        assert!(matches!(other.verify(&signed), Err(Forged::Signature)));
        assert_eq!(signed.claimed(), Some(addressed().order.operation));
    }

    proptest! {
        #[test]
        fn whatever_is_changed_the_order_is_forged(at: prop::sample::Index, to in "[ -~]") {
            let signer = signer();
            let mut signed = signer.sign(&addressed()).unwrap();
            let at = at.index(signed.payload.len());
            prop_assume!(signed.payload[at..=at] != *to);
            signed.payload.replace_range(at..=at, &to);
            prop_assert!(matches!(signer.key().verify(&signed), Err(Forged::Signature)));
        }

        #[test]
        fn no_signature_panics_the_check(payload: String, signature in "[0-9a-fx]{0,140}") {
            let signed = SignedOrder { payload, signature };
            prop_assert!(signer().key().verify(&signed).is_err());
            prop_assert_eq!(signed.claimed(), None);
        }
    }
}
