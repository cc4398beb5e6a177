//! Native hellos for datastores: log in, ask something cheap, say what is wrong in their own words.

pub(crate) mod amqp;
pub(crate) mod memcached;
pub(crate) mod mysql;
pub(crate) mod postgres;
pub(crate) mod redis;
