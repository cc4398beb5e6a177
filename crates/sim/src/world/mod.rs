//! The simulated world around engine and interlock: what is true, who sees it, and what becomes of orders.

mod chance;
pub(crate) mod fleet;
