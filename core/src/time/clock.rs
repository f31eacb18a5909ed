/// Processing time.
#[derive(Clone, Debug, Default)]
pub struct Clock {}
impl Clock {
    /// Now, milliseconds UTC.
    pub fn now(&self) -> i64 {
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
    }
}
