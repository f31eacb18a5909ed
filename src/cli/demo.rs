use super::args::Demo;
use fluvial_core::Result;

pub fn run(_args: Demo) -> Result<()> {
    Ok(())
}
