//! Every SMTP dialogue over TCP against a whole town: each turn whole, and octet by octet. The tests of the pop3-gateway
//! play those of POP3, with a store that fails on purpose.

use dialogue::Dialogue;
use tokio::net::TcpStream;
use town_config::PortKey;
use town_tests::{EXMAIL, Plan, TestTown};

const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/dialogues/smtp");

/// What the dialogues speak of besides the users of the town.
const ALIASES: &str = "[aliases.\"exmail.qq.com\"]\n\"away@mail.sustech.edu.cn\" = \"usr@gmail.com\"\n\
     \"all@mail.sustech.edu.cn\" = [\"usr1@mail.sustech.edu.cn\", \"usr@gmail.com\"]";

/// Everything of [tolerance] is off but early talk: clients send octet by octet, or several commands at once.
const STRICT: &str = "[tolerance]\nlf_commands = false\npaths_without_brackets = false\nodd_spaces = false\n\
     odd_dots = false\nearly_talk = true\n";

/// Plays the dialogues of a profile that have this `tolerance` in their header.
async fn play(profile: &str, tolerance: Option<&str>, chunk_octets: &[usize]) {
    let dialogues = dialogue::load_directory(DIRECTORY, &["profile", "tolerance"]).unwrap();
    let is_wanted = |dialogue: &&Dialogue| {
        dialogue.setting("profile").unwrap_or("tutorial") == profile && dialogue.setting("tolerance") == tolerance
    };
    let dialogues: Vec<_> = dialogues.iter().filter(is_wanted).collect();
    assert!(!dialogues.is_empty(), "no dialogue of profile {profile} with tolerance {tolerance:?}");
    let plan = if profile == "rfc" { Plan::default().rfc() } else { Plan::default() };
    let plan = match tolerance {
        None => plan.tables(STRICT),
        Some("all") => plan.tables("[tolerance]\nbare_lf_in_data = true\n"),
        Some(_) => plan,
    };
    let town = TestTown::start(plan.tables(ALIASES).limits("message_octets = 70000\nrecipients = 100")).await;
    for (dialogue, &chunk_octets) in
        dialogues.iter().flat_map(|dialogue| chunk_octets.iter().map(move |it| (dialogue, it)))
    {
        let stream = TcpStream::connect(town.address(EXMAIL, PortKey::Smtp)).await.unwrap();
        stream.set_nodelay(true).unwrap();
        dialogue.play_over(stream, chunk_octets).await.unwrap_or_else(|mismatch| panic!("{mismatch}"));
    }
    town.stop().await;
}

#[tokio::test]
async fn every_dialogue_of_the_tutorial_in_whole_turns() {
    play("tutorial", None, &[usize::MAX]).await;
}

#[tokio::test]
async fn every_dialogue_of_the_tutorial_octet_by_octet() {
    play("tutorial", None, &[1]).await;
}

#[tokio::test]
async fn every_dialogue_of_profile_rfc() {
    play("rfc", None, &[usize::MAX, 1]).await;
}

#[tokio::test]
async fn what_is_odd_is_taken_where_it_is_wanted() {
    play("tutorial", Some("all"), &[usize::MAX, 1]).await;
}

/// Who sends octet by octet does not talk early.
#[tokio::test]
async fn early_talk_is_refused_in_profile_rfc() {
    play("rfc", Some("none"), &[usize::MAX]).await;
}
