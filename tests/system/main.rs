//! The whole system, as its users meet it: uploads, playback, heartbeats, money, refusals and kills.
//!
//! One system is started for all checks. Stages run one after another, the checks of a stage at the same time; after every stage the
//! counts identity must hold, and a system that breaks it fails the run.
#![allow(clippy::indexing_slicing, reason = "a member that a JSON value does not have reads as null")]

mod attacks;
mod chaos;
mod contract;
mod lake;
mod members;
mod money;
mod playback;
mod receipts;
mod reconcile;
mod refusals;
mod revocation;
mod stampede;
mod uploads;

use anyhow::{Result, ensure};
use whole_system_tests::{Client, System, Upload, audio, check, runner::Tally};

fn main() -> std::process::ExitCode {
    let filter = std::env::args().skip(1).find(|argument| !argument.starts_with('-'));
    match run(filter.as_deref()) {
        Ok(tally) => {
            tally.report();
            if tally.failed == 0 { std::process::ExitCode::SUCCESS } else { std::process::ExitCode::FAILURE }
        }
        Err(error) => {
            println!("the system under test could not be used: {error:?}");
            Tally { passed: 0, failed: 1 }.report();
            std::process::ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(filter: Option<&str>) -> Result<Tally> {
    println!("\nstarting a system of its own\n");
    let system = System::start()?;
    let mut tally = Tally::default();
    if filter.is_some() {
        something_to_play(&system).await?;
    }
    tally
        .stage(
            &system,
            filter,
            &[
                check!(uploads::three_songs_are_published_and_play_back_intact_at_every_rung),
                check!(uploads::what_is_not_audio_is_rejected_with_a_reason),
                check!(uploads::a_presigned_url_cannot_be_used_twice_or_for_other_bytes),
                check!(uploads::a_presigned_url_ends_when_it_says),
                check!(uploads::a_track_taken_down_stops_playing),
                check!(members::members_do_what_their_role_says_until_they_are_removed),
                check!(refusals::a_call_without_a_good_session_is_refused),
                check!(refusals::a_spent_refresh_token_revokes_its_family),
                check!(refusals::a_token_that_was_touched_opens_nothing),
                check!(refusals::what_has_expired_is_refused_as_expired),
                check!(refusals::a_ticket_renews_only_its_own_play),
                check!(refusals::malformed_heartbeats_are_refused_by_name),
                check!(refusals::unknown_fields_are_refused_by_name),
                check!(contract::every_route_refuses_strangers_and_is_described),
                check!(contract::every_part_is_healthy),
            ],
        )
        .await;
    tally.stage(&system, None, &[check!(identity_holds)]).await;
    tally
        .stage(
            &system,
            filter,
            &[
                check!(playback::edge_and_gateway_answer_the_same_playlists),
                check!(playback::every_playlist_is_read_by_foreign_parsers),
                check!(playback::what_is_published_keeps_apples_numeric_rules),
                check!(playback::a_song_is_found_by_prefix_and_with_a_typo),
            ],
        )
        .await;
    tally.stage(&system, filter, &[check!(stampede::a_stampede_on_a_cold_segment_reads_the_object_store_once)]).await;
    tally
        .stage(
            &system,
            filter,
            &[
                check!(revocation::what_is_revoked_stops_within_five_seconds_and_nothing_else_does),
                check!(revocation::a_hundred_revocations_reach_the_edge_within_five_seconds),
            ],
        )
        .await;
    tally.stage(&system, filter, &[check!(revocation::music_goes_on_while_identity_is_away_and_what_was_revoked_stays_so)]).await;
    tally.stage(&system, filter, &[check!(playback::the_music_goes_on_when_the_edge_is_gone)]).await;
    tally
        .stage(
            &system,
            filter,
            &[
                check!(money::duplicated_and_shuffled_heartbeats_give_one_listen),
                check!(money::a_play_too_short_or_too_fast_is_void),
                check!(money::a_stock_players_reports_count),
                check!(money::a_heartbeat_through_the_gateway_counts_once_with_the_edge),
                check!(receipts::a_listen_is_corroborated_by_the_receipts_of_its_own_segments),
                check!(attacks::a_forged_position_is_refused_or_worth_nothing),
                check!(attacks::a_clock_faster_than_time_is_void),
                check!(attacks::a_thousand_parallel_plays_are_paid_the_time_that_passed),
                check!(attacks::a_flood_of_posts_is_told_to_wait),
                check!(attacks::a_stolen_ticket_gives_its_thief_nothing),
                check!(attacks::two_devices_on_one_ticket_are_one_listener),
                check!(attacks::a_players_clock_is_not_believed),
                check!(attacks::a_number_used_for_other_content_is_refused_or_quarantined),
                check!(attacks::events_after_the_end_bring_nothing),
                check!(attacks::plays_of_another_time_or_listener_do_not_count),
                check!(lake::what_was_done_is_in_the_lake_once),
                // Most of it is waiting, like the others'.
                check!(chaos::an_encoder_killed_again_and_again_publishes_once_and_the_same_bytes),
            ],
        )
        .await;
    tally.stage(&system, None, &[check!(identity_holds)]).await;
    tally.stage(&system, filter, &[check!(reconcile::every_hop_is_reconciled_and_a_lost_batch_is_named)]).await;
    tally.stage(&system, filter, &[check!(money::an_awkward_pool_is_settled_to_the_unit_once)]).await;
    tally.stage(&system, filter, &[check!(lake::every_engine_counts_what_the_database_does)]).await;
    tally.stage(&system, filter, &[check!(chaos::killed_parts_lose_nothing_and_count_nothing_twice)]).await;
    tally.stage(&system, None, &[check!(identity_holds)]).await;
    // Last: what it makes up spends the log-in limits that other checks live on.
    tally.stage(&system, filter, &[check!(contract::no_made_up_request_breaks_the_contract)]).await;
    Ok(tally)
}

/// What later checks find when earlier ones ran, for those that run alone.
async fn something_to_play(system: &System) -> Result<()> {
    let artist = Client::logged_in(&system.run.edge, &system.run.accounts.artist).await?;
    let directory = tempfile::tempdir()?;
    let path = directory.path().join("signal.flac");
    audio::signal(&path, 40, &["-c:a", "flac"]).await?;
    Upload::publish(&artist, "Signal in flac", "signal.flac", &std::fs::read(&path)?).await.map(drop)
}

/// acked = counted + quarantined + duplicate + pending (API.md, Money).
async fn identity_holds(system: &System) -> Result<()> {
    let counts = counts(system).await?;
    let of = |name: &str| counts[name].as_i64().unwrap_or(-1);
    ensure!(of("acked") == of("counted") + of("quarantined") + of("duplicate") + of("pending"), "{counts}");
    Ok(())
}

/// The counts of the current period.
async fn counts(system: &System) -> Result<serde_json::Value> {
    let admin = Client::logged_in(&system.run.edge, &system.run.accounts.admin).await?;
    admin.get(&format!("/v1/royalties/counts?period={}", period())).await
}

/// The current accounting period.
fn period() -> String {
    whole_system_tests::now().month()
}
