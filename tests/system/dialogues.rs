//! Every SMTP dialogue over TCP against a whole town: each turn whole, and octet by octet. (The POP3 ones are
//! played against the gateway in its own tests, with a store that fails on purpose.)

use dialogue::Dialogue;
use tokio::net::TcpStream;
use town_config::PortKey;
use town_tests::{EXMAIL, Plan, TestTown};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dialogues/smtp");

/// What the dialogues speak of besides the users of the town.
const ALIASES: &str = "[aliases.\"exmail.qq.com\"]\n\"away@mail.sustech.edu.cn\" = \"usr@gmail.com\"";

async fn play(profile: &str, plan: Plan, chunk_octets: usize) {
    let dialogues = dialogue::load_directory(DIRECTORY, &["profile"]).unwrap();
    let of_profile = |dialogue: &&Dialogue| dialogue.setting("profile").unwrap_or("tutorial") == profile;
    let dialogues: Vec<_> = dialogues.iter().filter(of_profile).collect();
    assert!(!dialogues.is_empty(), "no dialogue of profile {profile}");
    let town = TestTown::start(plan.tables(ALIASES).limits("message_octets = 70000\nrecipients = 100")).await;
    for dialogue in dialogues {
        let stream = TcpStream::connect(town.address(EXMAIL, PortKey::Smtp)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        dialogue.play_over(stream, chunk_octets).await.unwrap_or_else(|mismatch| panic!("{mismatch}"));
    }
    town.stop().await;
}

#[tokio::test]
async fn every_dialogue_of_the_tutorial_in_whole_turns() {
    play("tutorial", Plan::default(), usize::MAX).await;
}

#[tokio::test]
async fn every_dialogue_of_the_tutorial_octet_by_octet() {
    play("tutorial", Plan::default(), 1).await;
}

#[tokio::test]
async fn every_dialogue_of_profile_rfc() {
    for chunk_octets in [usize::MAX, 1] {
        play("rfc", Plan::default().rfc(), chunk_octets).await;
    }
}
