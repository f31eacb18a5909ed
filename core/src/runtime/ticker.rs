//! The watermark of a source or timestamp assigner: published once a tick, replaced while idle, and announced at most
//! every few milliseconds, because each announcement goes to all workers.

use super::idle::{Status, TICK};
use super::instance::Instance;
use crate::Result;
use std::time::{Duration, Instant};

/// Watermarks are announced at most this often while records flow.
const ANNOUNCE: Duration = Duration::from_millis(2);

#[derive(Default)]
pub(super) struct Ticker {
    published: Option<(Instant, Status)>,
    announced: Option<Instant>,
    global: Option<i64>,
    alarm: Option<Instant>,
}

impl Ticker {
    /// Publishes the instance's own watermark when it is time, and announces what follows for this instance. `urgent`:
    /// nothing will be sent for a while; `blocked`: because there is no room for it, so that silence is no sign of idleness.
    /// Gives the smallest watermark of the active instances where it has changed.
    pub(super) fn tick(&mut self, instance: &mut Instance, mut own: Status, urgent: bool, blocked: bool) -> Result<Option<i64>> {
        let now = Instant::now();
        own.idle &= !blocked || self.published.is_some_and(|(_, last)| last.idle);
        let changed = self.published.is_none_or(|(_, last)| last != own);
        let due = self.published.is_none_or(|(at, _)| now - at >= TICK);
        let turned = self.published.is_none_or(|(_, last)| last.idle != own.idle);
        if changed && (due || turned) {
            self.published = Some((now, own));
            instance.job.publish(instance.node, instance.worker, own);
        }
        let statuses = &instance.job.statuses;
        let active = if due || turned { statuses.active(instance.node) } else { self.global };
        let mut watermark = own.watermark;
        if own.idle {
            let others = active.or_else(|| statuses.active_anywhere());
            watermark = others.map_or(watermark, |others| others.max(watermark));
        }
        // While idle, or waiting for slower ones: others move on without telling. Otherwise: what is too early to be
        // published now is not forgotten.
        let ahead = active.is_some_and(|active| own.watermark > active);
        if (own.idle || (urgent && (ahead || (changed && !due)))) && self.alarm.is_none_or(|at| at <= now) {
            self.alarm = Some(now + TICK);
            instance.again_after(TICK);
        }
        if watermark > instance.at().watermark && (urgent || self.announced.is_none_or(|at| now - at >= ANNOUNCE)) {
            self.announced = Some(now);
            instance.advance(0, watermark)?;
        }
        let news = active.filter(|_| active != self.global);
        self.global = active;
        Ok(news)
    }
}
