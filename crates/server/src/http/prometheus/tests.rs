//! Requests and answers, byte by byte, over a store of a few series.
