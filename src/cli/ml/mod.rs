//! `fluvial ml`: learning, scoring, online learning and recommendations over files.

pub mod args;
mod input;
mod online;
mod plot;
mod recommend;
mod report;
mod score;
mod train;

use args::{Ml, Recommend};
use fluvial_core::{Interrupt, Result};

pub fn run(command: Ml, interrupt: &Interrupt) -> Result<()> {
    match command {
        Ml::Train(args) => train::run(&args, interrupt),
        Ml::Score(args) => score::run(&args, interrupt),
        Ml::Online(args) => online::run(&args, interrupt),
        Ml::Recommend(Recommend::Train(args)) => recommend::train(&args, interrupt),
        Ml::Recommend(Recommend::Score(args)) => recommend::score(&args),
    }
}
