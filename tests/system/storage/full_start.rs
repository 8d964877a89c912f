//! A store that is started while nothing can be written.

use super::{EXMAIL, Patient, STORE};
use crate::campaign::sound;
use reqwest::{Method, StatusCode};
use std::{collections::BTreeSet, fs};
use town_config::PortKey;
use town_tests::{Errno, Operation, Plan, ProcessTown};

/// It gives what it has, answers all else with a temporary failure, and takes mail once there is room, without another
/// start. With the log of a store that was killed, and without one.
#[tokio::test]
async fn a_store_serves_what_it_can_where_nothing_can_be_written() {
    let town = ProcessTown::start_on_forgetful_disks(Plan::default()).await;
    let mut patient = Patient { town, acknowledged: BTreeSet::new() };
    for (what, error, is_killed) in [
        ("full, after a kill", Errno::NOSPC, true),
        ("full, after a stop", Errno::NOSPC, false),
        ("the quota is used up, after a kill", Errno::DQUOT, true),
    ] {
        eprintln!("{what}");
        let mut client = patient.town.smtp(EXMAIL).await;
        client.hello().await;
        patient.accepts(&mut client, &format!("before: {what}")).await;
        if is_killed {
            patient.town.kill(STORE).await;
        } else {
            patient.town.terminate(STORE);
            assert!(patient.town.ended(STORE).await.success());
        }
        patient.town.disk(EXMAIL).fail(&[Operation::Write], error);
        patient.town.spawn(STORE);
        patient.town.alive(STORE).await;

        patient.has_all(what).await;
        patient.refuses(&mut client, what, true).await;
        patient.has_all(what).await;
        let ready = patient.town.call(Method::GET, EXMAIL, PortKey::Store, "/readyz").await;
        assert_eq!(ready.status(), StatusCode::SERVICE_UNAVAILABLE);
        let reason = ready.text().await.unwrap();
        assert!(reason.contains("store.db: ") && reason.contains("the disk may be full"), "{reason}");

        patient.town.disk(EXMAIL).mend();
        patient.accepts(&mut client, &format!("after: {what}")).await;
        assert_eq!(patient.ready().await, StatusCode::OK, "{what}");
        patient.has_all(what).await;
        patient.town.kill(STORE).await;
        patient.town.disk(EXMAIL).forget();
        sound(&patient.town, EXMAIL);
        patient.town.restart(STORE).await;
        patient.has_all(&format!("power cut after: {what}")).await;
    }
}

/// Without a database there is nothing to serve, and mail for a mailbox that is not made yet would be refused for good.
#[tokio::test]
async fn a_store_that_lacks_a_mailbox_does_not_start_where_nothing_can_be_written() {
    let mut town = ProcessTown::start_on_forgetful_disks(Plan::default()).await;
    let refused = async |town: &mut ProcessTown, reason: &str| {
        town.disk(EXMAIL).fail(&[Operation::Write], Errno::NOSPC);
        town.spawn(STORE);
        assert_eq!(town.ended(STORE).await.code(), Some(1));
        let said = town.logged(STORE);
        assert!(said.lines().last().unwrap().contains(reason), "{said}");
        town.disk(EXMAIL).mend();
    };
    town.kill(STORE).await;
    let config = fs::read_to_string(town.config()).unwrap();
    let more = config.replacen("\"usr1@", "\"new@mail.sustech.edu.cn\" = \"new\"\n\"usr1@", 1);
    fs::write(town.config(), &more).unwrap();
    assert_ne!(more, config);
    refused(&mut town, "the disk may be full").await;
    town.disk(EXMAIL).erase();
    refused(&mut town, "the disk may be full").await;
    town.restart(STORE).await;
    let path = "/v1/mailboxes/new@mail.sustech.edu.cn";
    assert_eq!(town.call(Method::GET, EXMAIL, PortKey::Store, path).await.status(), StatusCode::OK);
}
