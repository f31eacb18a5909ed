//! Jobs whose processes are killed and started again until they are done: what they have committed is what an undisturbed
//! run commits.
//!
//! | file | what |
//! |---|---|
//! | `job` | a job of everything that has state, whose results do not depend on when anything happens |
//! | `program` | a process that runs it: this test program, started again |
//! | `life` | such a process and those that it starts, from outside: told apart, killed, waited for |
//! | `moment` | when a process is killed |
//! | `torture` | lives of one job, one after the other, until it is done, and what is done to it in between |
//! | `output` | what is visible of the results |
//! | `variants` | the tests: with how many processes and workers, and what else goes wrong |
//! | `iterations` | jobs that iterate, in the same way |
//! | `bills` | the golden numbers of the example `billing`, disturbed and not |
//!
//! Each variant goes on for some seconds. `FLUVIAL_RECOVERY_SECONDS=n` has all of them go on for n seconds,
//! `FLUVIAL_RECOVERY_KILLS=n` until each has killed n times, too. Moments are chosen by a seed that is printed, and set by
//! `FLUVIAL_RECOVERY_SEED=n`; what the machine does meanwhile is not, so a seed finds the same kind of trouble, not the same
//! instant.

#[allow(dead_code)]
#[path = "../../examples/billing.rs"]
mod billing;

mod bills;
mod iterations;
mod job;
mod life;
mod moment;
mod output;
mod program;
mod random;
mod torture;
mod variants;

/// A process of a job, started by the tests; an empty test otherwise.
#[test]
fn program() {
    program::run_if_told();
}
