use proptest::prelude::*;

use super::*;
use crate::Plan;

fn with_mtp(kbps: u32) -> Evidence {
    Evidence { cmcd: Cmcd { measured_kbps: Some(kbps), ..Cmcd::default() }, ..Evidence::default() }
}

fn all() -> RungSet {
    RungSet::of(&Rung::ALL)
}

/// Start, the largest rung allowed, lossless, and the reason.
#[test]
fn the_decision_table() {
    use Rung::{Aac64, Aac128, Aac256};
    let nothing = Evidence::default();
    let table: [(Evidence, Plan, Rung, Rung, bool, &str); 22] = [
        (nothing, Plan::Premium, Aac128, Aac256, true, "Starts at AAC 128 kbit/s because nothing is known of the connection."),
        (nothing, Plan::Free, Aac128, Aac128, false, "Starts at AAC 128 kbit/s because the plan ends there, and nothing is known of the connection."),
        (with_mtp(0), Plan::Premium, Aac64, Aac64, false, "Starts at AAC 64 kbit/s because the player measured less than 50 kbit/s (CMCD mtp)."),
        (with_mtp(100), Plan::Premium, Aac64, Aac64, false, "Starts at AAC 64 kbit/s because the player measured 100 kbit/s (CMCD mtp)."),
        (with_mtp(191), Plan::Premium, Aac64, Aac128, false, "Starts at AAC 64 kbit/s because the player measured 191 kbit/s (CMCD mtp)."),
        (with_mtp(192), Plan::Premium, Aac128, Aac128, false, "Starts at AAC 128 kbit/s because the player measured 192 kbit/s (CMCD mtp)."),
        (with_mtp(384), Plan::Premium, Aac256, Aac256, false, "Starts at AAC 256 kbit/s because the player measured 384 kbit/s (CMCD mtp)."),
        (with_mtp(1500), Plan::Premium, Aac256, Aac256, true, "Starts at AAC 256 kbit/s because the player measured 1500 kbit/s (CMCD mtp)."),
        (with_mtp(5000), Plan::Free, Aac128, Aac128, false, "Starts at AAC 128 kbit/s because the plan ends there, and the player measured 5000 kbit/s (CMCD mtp)."),
        (Evidence { save_data: true, ..with_mtp(5000) }, Plan::Premium, Aac64, Aac64, false, "Starts at AAC 64 kbit/s because data saver is on."),
        (Evidence { downlink_kbps: Some(300), ..nothing }, Plan::Premium, Aac128, Aac256, false, "Starts at AAC 128 kbit/s because the browser estimates 300 kbit/s."),
        (Evidence { downlink_kbps: Some(300), ..with_mtp(900) }, Plan::Premium, Aac256, Aac256, false, "Starts at AAC 256 kbit/s because the player measured 900 kbit/s (CMCD mtp)."),
        (Evidence { effective_type: EffectiveType::parse("2g"), ..nothing }, Plan::Premium, Aac64, Aac64, false, "Starts at AAC 64 kbit/s because the browser calls the connection 2g."),
        (Evidence { effective_type: EffectiveType::parse("3g"), ..nothing }, Plan::Premium, Aac128, Aac256, false, "Starts at AAC 128 kbit/s because the browser calls the connection 3g."),
        (Evidence { effective_type: EffectiveType::parse("4g"), ..nothing }, Plan::Premium, Aac256, Aac256, true, "Starts at AAC 256 kbit/s because the browser calls the connection 4g."),
        (Evidence { round_trip_ms: Some(600), ..nothing }, Plan::Premium, Aac128, Aac256, false, "Starts at AAC 128 kbit/s because a round trip takes 600 ms."),
        (Evidence { round_trip_ms: Some(40), ..nothing }, Plan::Premium, Aac128, Aac256, true, "Starts at AAC 128 kbit/s because nothing is known of the connection."),
        (Evidence { delivery_kbps: Some(4000), round_trip_ms: Some(600), ..nothing }, Plan::Premium, Aac256, Aac256, true, "Starts at AAC 256 kbit/s because the edge delivered 4000 kbit/s to this listener just before."),
        (Evidence { delivery_kbps: Some(90), ..nothing }, Plan::Premium, Aac128, Aac256, true, "Starts at AAC 128 kbit/s because nothing is known of the connection."),
        (Evidence { cmcd: Cmcd::default().with("mtp=5000,rtp=200"), ..nothing }, Plan::Premium, Aac128, Aac128, false, "Starts at AAC 128 kbit/s because the player asked for no more than 200 kbit/s (CMCD rtp)."),
        (Evidence { cmcd: Cmcd::default().with("mtp=300,br=282,bl=4000"), ..nothing }, Plan::Premium, Aac256, Aac256, false, "Starts at AAC 256 kbit/s because the player measured 300 kbit/s (CMCD mtp)."),
        (Evidence { cmcd: Cmcd::default().with("mtp=700,br=282,bs"), ..nothing }, Plan::Premium, Aac128, Aac256, false, "Starts at AAC 128 kbit/s because the buffer just ran dry, and the player measured 700 kbit/s (CMCD mtp)."),
    ];
    for (evidence, plan, start, largest, lossless, reason) in table {
        let choice = choose(&evidence, all(), plan.rungs()).unwrap();
        assert_eq!(choice.reason, reason);
        assert_eq!((choice.start, choice.allowed.0.iter().next_back(), choice.lossless), (start, Some(largest), lossless), "{reason}");
    }
}

#[test]
fn with_an_ample_buffer_a_start_needs_no_more_than_the_rung_itself() {
    let start = |text| choose(&Evidence { cmcd: Cmcd::default().with(text), ..Evidence::default() }, all(), all()).unwrap().start;
    assert_eq!((start("mtp=300,bl=11900"), start("mtp=300,bl=12000")), (Rung::Aac128, Rung::Aac256));
}

#[test]
fn what_the_device_cannot_play_is_not_offered() {
    let on = |codecs: &str| choose(&Evidence { codecs: Codecs::parse(codecs), ..Evidence::default() }, all(), all());
    assert!(on("mp4a.40.2, flac").unwrap().lossless && on("").unwrap().lossless);
    assert!(!on("mp4a.40.2,opus").unwrap().lossless);
    assert_eq!(on("flac"), None);
    assert_eq!(on("opus"), None);
}

#[test]
fn a_media_version_without_a_payable_rung_has_no_choice() {
    assert_eq!(choose(&Evidence::default(), RungSet::NONE, all()), None);
    assert_eq!(choose(&Evidence::default(), RungSet::of(&[Rung::Aac256]), Plan::Free.rungs()), None);
}

fn anything() -> impl Strategy<Value = Evidence> {
    let kbps = || prop::option::of(0u32..4_000);
    let cmcd = (kbps(), prop::option::of(0u32..60_000), kbps(), kbps(), any::<bool>()).prop_map(|(mtp, bl, rtp, br, starved)| Cmcd {
        measured_kbps: mtp,
        buffer_ms: bl,
        requested_max_kbps: rtp,
        bitrate_kbps: br,
        starved,
        ..Cmcd::default()
    });
    let class = prop::sample::select(vec!["", "slow-2g", "2g", "3g", "4g"]).prop_map(EffectiveType::parse);
    let codecs = (any::<bool>(), any::<bool>()).prop_map(|(aac, flac)| Codecs { aac, flac });
    (cmcd, kbps(), class, any::<bool>(), prop::option::of(0u32..2_000), kbps(), codecs).prop_map(
        |(cmcd, downlink_kbps, effective_type, save_data, round_trip_ms, delivery_kbps, codecs)| Evidence {
            cmcd,
            downlink_kbps,
            effective_type,
            save_data,
            round_trip_ms,
            delivery_kbps,
            codecs,
        },
    )
}

fn rungs() -> impl Strategy<Value = RungSet> {
    (0u8..16).prop_map(|bits| RungSet::from_bits(bits).unwrap())
}

/// What the strongest evidence says the connection carries at most, written apart from `estimate`.
fn bound_kbps(evidence: &Evidence) -> Option<u32> {
    let class = evidence.effective_type;
    let connection = evidence.cmcd.measured_kbps.or(evidence.downlink_kbps.filter(|kbps| *kbps > 0)).or(match class {
        Some(EffectiveType::Slow2g) => Some(50),
        Some(EffectiveType::TwoG) => Some(70),
        Some(EffectiveType::ThreeG) => Some(700),
        _ => None,
    });
    [connection, evidence.cmcd.requested_max_kbps.filter(|kbps| *kbps > 0)].into_iter().flatten().min()
}

proptest! {
    #[test]
    fn never_above_plan_media_codecs_connection_or_data_saver(evidence in anything(), available in rungs(), plan in rungs()) {
        let playable = available.intersect(plan).intersect(evidence.codecs.rungs());
        let Some(choice) = choose(&evidence, available, plan) else {
            prop_assert!(playable.without(Rung::Flac).is_empty());
            return Ok(());
        };
        let smallest = playable.iter().next().unwrap();
        prop_assert!(choice.allowed.0.contains(choice.start) && !choice.allowed.0.contains(Rung::Flac));
        for rung in choice.allowed.0.iter().chain(choice.lossless.then_some(Rung::Flac)) {
            prop_assert!(playable.contains(rung));
            prop_assert!(rung == smallest || !evidence.save_data);
            prop_assert!(rung == smallest || bound_kbps(&evidence).is_none_or(|kbps| rung.nominal_bps() / 1000 <= kbps));
        }
    }

    #[test]
    fn more_bandwidth_never_means_less(evidence in anything(), available in rungs(), plan in rungs(), a in 0u32..4_000, b in 0u32..4_000, kind in 0..4) {
        let at = |kbps| {
            let mut evidence = evidence;
            match kind {
                0 => evidence.cmcd.measured_kbps = Some(kbps),
                1 => evidence.downlink_kbps = Some(kbps.max(1)),
                2 => evidence.delivery_kbps = Some(kbps),
                _ => evidence.cmcd.requested_max_kbps = Some(kbps.max(1)),
            }
            choose(&evidence, available, plan)
        };
        let (Some(low), Some(high)) = (at(a.min(b)), at(a.max(b))) else { return Ok(()) };
        prop_assert!(low.start <= high.start && low.lossless <= high.lossless);
        prop_assert_eq!(low.allowed.0.intersect(high.allowed.0), low.allowed.0);
    }

    #[test]
    fn ten_percent_of_noise_moves_the_start_by_one_rung_at_most(evidence in anything(), available in rungs(), plan in rungs(), kbps in 1u32..4_000, kind in 0..3) {
        let start = |kbps| {
            let mut evidence = evidence;
            match kind {
                0 => evidence.cmcd.measured_kbps = Some(kbps),
                1 => evidence.downlink_kbps = Some(kbps),
                _ => evidence.delivery_kbps = Some(kbps),
            }
            choose(&evidence, available, plan).map(|choice| choice.start)
        };
        // Every whole bandwidth within the noise, which is every answer within it.
        let mut starts: Vec<_> = (kbps * 9 / 10..=(kbps * 11).div_ceil(10)).filter_map(start).collect();
        starts.dedup();
        prop_assert!(starts.len() <= 2, "{starts:?}");
        if let [below, above] = starts[..] {
            let between = available.intersect(plan).iter().filter(|rung| below < *rung && *rung < above).count();
            prop_assert_eq!(between, 0);
        }
    }

    #[test]
    fn a_reason_is_a_sentence_a_header_can_carry(evidence in anything(), available in rungs(), plan in rungs()) {
        let Some(choice) = choose(&evidence, available, plan) else { return Ok(()) };
        let reason = choice.reason;
        let rung = format!("Starts at {} because ", name(choice.start));
        prop_assert!(reason.starts_with(&rung) && reason.ends_with('.') && reason.len() < 160, "{reason}");
        prop_assert!(reason.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\'), "{reason}");
    }
}
