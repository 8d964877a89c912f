//! Every POP3 dialogue over TCP against the real gateway: each turn whole, and octet by octet.

mod support;

use dialogue::Dialogue;
use support::{
    FakeStore, RunningGateway,
    fixture::{ACCOUNTS, SETTINGS},
};
use town_config::Profile;

#[tokio::test]
async fn every_dialogue_over_tcp() {
    let store = FakeStore::start(ACCOUNTS).await;
    for dialogue in dialogue::load_directory("../../tests/dialogues/pop3", SETTINGS).unwrap() {
        let profile = match dialogue.setting("profile") {
            Some("tutorial") => Profile::Tutorial,
            None | Some("rfc") => Profile::Rfc,
            Some(other) => panic!("{}: no profile {other}", dialogue.file()),
        };
        let require_tls = dialogue.setting("require_tls") == Some("true");
        let gateway = RunningGateway::start(store.address, |config| {
            config.profile = profile;
            config.pop3.require_tls = require_tls;
        })
        .await;
        // What comes behind STLS must come with it.
        let paces = if dialogue.setting("pace") == Some("whole") { &[usize::MAX][..] } else { &[usize::MAX, 1] };
        for &chunk_octets in paces {
            play(&gateway, &dialogue, chunk_octets).await;
        }
        gateway.stop().await;
    }
}

async fn play(gateway: &RunningGateway, dialogue: &Dialogue, chunk_octets: usize) {
    let stream = match dialogue.setting("port") {
        Some("pops") => gateway.connect_to_pops().await,
        _ => gateway.connect().await,
    };
    let played = dialogue.play_over_with_tls(stream, chunk_octets, async |stream| gateway.agree(stream).await).await;
    played.unwrap_or_else(|mismatch| panic!("{mismatch}"));
}
