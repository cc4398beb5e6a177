//! Actuators against real processes, services, containers and units.

mod container;
mod listener;
mod notice;
mod order;
mod supervised;
mod support;
mod survival;
mod unit;
