//! State on disk takes the memory that it was given: measured of a process of its own (`VmHWM`), whose state is over ten times that.

use fluvial_core::{Config, Env, Mode, StateBackend, peak_resident};
use std::process::Command;

const MIB: u64 = 1 << 20;
/// What may come on top of the budgets and the index.
const OVERHEAD: u64 = 64 * MIB;
const MEMORY: usize = 16 << 20;
const STATE_MEMORY: usize = 16 << 20;
const KEYS: u64 = 800_000;
/// Bytes of an index for a key, at most.
const INDEX: u64 = 22;
/// Names the environment variable that makes this the measured process.
const MEASURED: &str = "FLUVIAL_STATE_MEMORY";

/// A value of some 240 bytes.
fn value(n: u64) -> Vec<u64> {
    vec![n << 40; 30]
}

/// Gives each key a value, then changes some, and checks what was there.
fn measured() {
    let state_backend = StateBackend::Disk { memory: STATE_MEMORY, folder: None };
    let config = Config { threads: 2, memory: MEMORY, mode: Mode::Streaming, state_backend, ..Config::default() };
    let env = Env::new(config);
    let numbers = env.generator(|n| if n < KEYS { n } else { n * 7 % KEYS }).count(KEYS + KEYS / 2).stream();
    let found = numbers.key_by(|n| *n).map_with_state(|n, state: &mut Option<Vec<u64>>| {
        let right = state.as_ref().is_none_or(|before| *before == value(n));
        let known = state.is_some();
        *state = Some(value(n));
        (right, known)
    });
    assert!(found.filter(|(right, _)| !right).union(&found.filter(|(_, known)| *known)).count().unwrap() == KEYS / 2);
    println!("peak {}", peak_resident());
}

#[test]
fn state_of_ten_times_its_memory_stays_within_it() {
    if std::env::var_os(MEASURED).is_some() {
        return measured();
    }
    let state = KEYS * value(0).len() as u64 * 8;
    assert!(state > 10 * STATE_MEMORY as u64);
    let name = "state_of_ten_times_its_memory_stays_within_it";
    let mut command = Command::new(std::env::current_exe().unwrap());
    let output = command.args([name, "--exact", "--nocapture"]).env(MEASURED, "1").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    let peak = said.lines().find_map(|line| line.split("peak ").nth(1)?.trim().parse::<u64>().ok()).unwrap();
    let most = (MEMORY + STATE_MEMORY) as u64 + KEYS * INDEX + OVERHEAD;
    eprintln!("{} MiB resident for {} MiB of state in {} MiB", peak / MIB, state / MIB, STATE_MEMORY >> 20);
    assert!(peak > 0 && peak < most && most < state, "{} MiB resident, at most {} MiB expected", peak / MIB, most / MIB);
}
