//! A domain that `mailtown add-domain` has written.

use crate::ports::{free_ports, options};
use town_config::PortKey;
use town_tests::{
    EXMAIL, GMAIL, Mailtown, Plan, USR, USR1,
    mailtown::{address, arrives, command, send},
};

const THIRD: &str = "third.example";
const ANN: &str = "ann@third.example";

#[tokio::test]
async fn it_exchanges_mail_with_the_others() {
    let site = Plan::default().write();
    let mut add = command("mailtown");
    add.args(["add-domain", THIRD, "--user", "ann", "--password", "secret"]).args(options(&site));
    let added = add.current_dir(site.config().parent().unwrap()).output().await.unwrap();
    assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));

    // Other tests may have a domain at the ports that were chosen.
    free_ports(&site);
    let mut town = Mailtown::start(options(&site));
    let ports = town.ports().await;
    let users = [(EXMAIL, USR1, "pass1"), (GMAIL, USR, "pass"), (THIRD, ANN, "secret")];
    for (from, sender, _) in users {
        for (to, recipient, password) in users {
            let subject = format!("from {from} to {to}");
            send(address(&ports, from, PortKey::Smtp), sender, recipient, &subject).await;
            arrives(address(&ports, to, PortKey::Pop), recipient, password, &subject).await;
        }
    }
    assert!(town.stop().await.success());
}
