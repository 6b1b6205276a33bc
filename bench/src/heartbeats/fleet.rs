//! What the paper fleet of 500 million daily listeners takes, by arithmetic from what was measured here. docs/scale.md states each assumption and
//! shows the table this prints.

use serde::Serialize;

/// Listeners a day, what each listens to, and how much busier the peak is than the mean.
const LISTENERS: f64 = 500e6;
const LISTENING_S: f64 = 3_600.0;
const BEAT_EVERY_S: f64 = 15.0;
const PEAK: f64 = 2.0;
const DAY_S: f64 = 86_400.0;
/// A fleet is sized so that its peak leaves room for a lost site.
const UTILISATION: f64 = 0.6;
/// A buffer is given half of what it takes at most.
const BUFFER_SHARE: f64 = 0.5;
const CELL_CORES: f64 = 32.0;
/// A rented core, an hour, dollars.
const CORE_HOUR: f64 = 0.03;
/// Cloudflare's list prices, dollars a million: Worker requests, CPU-ms, durable object requests, rows written, and GB-s of an object's 128 MB.
const REQUEST: f64 = 0.30;
const CPU_MS: f64 = 0.02;
const OBJECT_REQUEST: f64 = 0.15;
const ROW_WRITTEN: f64 = 1.0;
const GB_S: f64 = 12.5;
const OBJECT_GB: f64 = 0.128;
/// A post's row is written and, once the origin has it, deleted.
const ROWS_PER_POST: f64 = 2.0;

/// What was measured, CPU-us an event and posts a second.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) edge_us: f64,
    pub(crate) gateway_us: f64,
    pub(crate) royalty_us: f64,
    pub(crate) postgres_us: f64,
    pub(crate) buffer_per_s: f64,
}

/// The fleet.
#[derive(Debug, Serialize)]
pub(crate) struct Fleet {
    /// Heartbeats a day.
    pub(crate) heartbeats_per_day: f64,
    /// At the peak, a second.
    pub(crate) peak_per_s: f64,
    /// Cores of workerd, gateway, royalty and PostgreSQL at the peak.
    pub(crate) edge_cores: f64,
    pub(crate) gateway_cores: f64,
    pub(crate) royalty_cores: f64,
    pub(crate) postgres_cores: f64,
    /// Durable objects.
    pub(crate) buffers: f64,
    /// PostgreSQL primaries of 32 cores.
    pub(crate) cells: f64,
    /// Dollars per million heartbeats: the origin, rented; the edge on rented machines; the edge at Cloudflare's list prices.
    pub(crate) origin_dollars: f64,
    pub(crate) own_edge_dollars: f64,
    pub(crate) cloudflare_dollars: f64,
}

impl Fleet {
    /// The arithmetic.
    pub(crate) fn of(measured: Measured) -> Self {
        let heartbeats_per_day = LISTENERS * LISTENING_S / BEAT_EVERY_S;
        let peak_per_s = heartbeats_per_day / DAY_S * PEAK;
        let cores = |us: f64| peak_per_s * us / 1e6 / UTILISATION;
        let (edge_cores, gateway_cores, royalty_cores, postgres_cores) =
            (cores(measured.edge_us), cores(measured.gateway_us), cores(measured.royalty_us), cores(measured.postgres_us));
        let millions_per_day = heartbeats_per_day / 1e6;
        let rented = |cores: f64| cores * 24.0 * CORE_HOUR / millions_per_day;
        let buffers = (peak_per_s / (measured.buffer_per_s * BUFFER_SHARE)).ceil();
        let duration = buffers * DAY_S * OBJECT_GB * GB_S / 1e6 / millions_per_day;
        Self {
            heartbeats_per_day,
            peak_per_s,
            edge_cores,
            gateway_cores,
            royalty_cores,
            postgres_cores,
            buffers,
            cells: (postgres_cores / CELL_CORES).ceil(),
            origin_dollars: rented(gateway_cores + royalty_cores + postgres_cores),
            own_edge_dollars: rented(edge_cores),
            cloudflare_dollars: REQUEST + OBJECT_REQUEST + ROWS_PER_POST * ROW_WRITTEN + measured.edge_us / 1e3 * CPU_MS + duration,
        }
    }

    /// As a table.
    pub(crate) fn markdown(&self) -> String {
        format!(
            "| the paper fleet | |\n|---|---|\n| heartbeats a day | {:.0} G |\n| at the peak, a second | {:.2} M |\n\
             | cores at the peak: workerd | {:.0} |\n| gateway | {:.0} |\n| royalty | {:.0} |\n| PostgreSQL | {:.0} |\n\
             | durable objects | {:.0} |\n| PostgreSQL cells of 32 cores | {:.0} |\n\
             | dollars per million heartbeats: origin | {:.4} |\n| edge on rented machines | {:.4} |\n| edge at Cloudflare's list prices | {:.2} |\n",
            self.heartbeats_per_day / 1e9,
            self.peak_per_s / 1e6,
            self.edge_cores,
            self.gateway_cores,
            self.royalty_cores,
            self.postgres_cores,
            self.buffers,
            self.cells,
            self.origin_dollars,
            self.own_edge_dollars,
            self.cloudflare_dollars,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fleet_is_the_design_s_and_grows_with_the_cost_of_an_event() {
        let fleet =
            |us: f64| Fleet::of(Measured { edge_us: us, gateway_us: 1.0, royalty_us: 10.0, postgres_us: 60.0, buffer_per_s: 1_400.0 });
        let one = fleet(600.0);
        assert!((one.heartbeats_per_day - 120e9).abs() < 1.0 && (one.peak_per_s / 1e6 - 2.78).abs() < 0.01);
        assert!((one.edge_cores - 2_777.8).abs() < 1.0 && (one.buffers - 3_969.0).abs() < 1.0 && (one.cells - 9.0).abs() < 0.1);
        assert!((fleet(1_200.0).own_edge_dollars / one.own_edge_dollars - 2.0).abs() < 1e-9);
        assert!((one.cloudflare_dollars - 2.47).abs() < 0.01, "{}", one.cloudflare_dollars);
    }
}
