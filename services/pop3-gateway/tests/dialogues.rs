//! Every POP3 dialogue over TCP against the real gateway: each turn whole, and octet by octet.

mod support;

use support::{FakeStore, RunningGateway, fixture::ACCOUNTS};
use town_config::Profile;

#[tokio::test]
async fn every_dialogue_over_tcp() {
    let store = FakeStore::start(ACCOUNTS).await;
    for dialogue in dialogue::load_directory("../../tests/dialogues/pop3", &["profile"]).unwrap() {
        let profile = match dialogue.setting("profile") {
            Some("tutorial") => Profile::Tutorial,
            None | Some("rfc") => Profile::Rfc,
            Some(other) => panic!("{}: no profile {other}", dialogue.file()),
        };
        let gateway = RunningGateway::start(store.address, |config| config.profile = profile).await;
        for chunk_octets in [usize::MAX, 1] {
            let played = dialogue.play_over(gateway.connect().await, chunk_octets).await;
            played.unwrap_or_else(|mismatch| panic!("{mismatch}"));
        }
        gateway.stop().await;
    }
}
