use super::*;
use crate::Action;
use mail_net::Clock;
use std::time::Duration;

fn faults(service: &'static str, json: &str) -> Faults {
    let faults = Faults::new("gmail.com", service, Clock::system().wall);
    faults.set(settings(json)).unwrap();
    faults
}

fn settings(json: &str) -> Settings {
    serde_json::from_str(&format!(r#"{{"faults":{json}}}"#)).unwrap()
}

fn rcpt<'a>(recipients: &'a [String]) -> Point<'a> {
    let client = Some("127.0.0.1".parse().unwrap());
    Point { client, mail_from: Some("a@x"), recipients, ..Point::of(Hop::AgentToSmtp, &["RCPT"]) }
}

const GREY: &str = r#"{"grey":{"where":{"stack":"gmail.com","service":"smtp-gateway","verb":"rcpt","rcpt_to":"*@gmail.com"},
    "what":{"reply":"451 4.7.1 greylisted"},"when":{"first_per_recipient":1}}}"#;

#[test]
fn a_fault_happens_where_all_that_is_said_is_so() {
    let faults = faults("smtp-gateway", GREY);
    assert!(faults.is_on());
    let elsewhere = ["usr@exmail.qq.com".to_owned()];
    assert_eq!(faults.at(&rcpt(&elsewhere)), None);
    let here = ["usr@gmail.com".to_owned()];
    let data = Point { verbs: &["DATA"], ..rcpt(&here) };
    assert_eq!(faults.at(&data), None);
    assert_eq!(faults.at(&Point { hop: Hop::SmtpToPeer, ..rcpt(&here) }), None);
    let outcome = faults.at(&rcpt(&here)).unwrap();
    assert_eq!(outcome.action, Some(Action::Reply("451 4.7.1 greylisted".to_owned())));
    assert_eq!(faults.at(&rcpt(&here)), None, "once for each recipient");
    faults.happened_in(&outcome, "s1");
    let (set, states) = faults.report();
    assert_eq!(set, settings(GREY));
    assert_eq!(states["grey"], FaultState { fired: 1, sessions: vec!["s1".to_owned()] });
}

#[test]
fn faults_of_others_are_known_and_not_asked() {
    for service in ["pop3-gateway", "mailbox-store"] {
        let faults = faults(service, GREY);
        assert!(!faults.is_on());
        assert_eq!(faults.report().0, settings(GREY));
    }
    let other = Faults::new("exmail.qq.com", "smtp-gateway", Clock::system().wall);
    other.set(settings(GREY)).unwrap();
    assert!(!other.is_on());
    assert!(!Faults::none().is_on());
}

#[test]
fn counts_stay_while_the_fault_stays() {
    let faults = faults("smtp-gateway", GREY);
    let here = ["usr@gmail.com".to_owned()];
    assert!(faults.at(&rcpt(&here)).is_some());
    faults.set(settings(GREY)).unwrap();
    assert_eq!(faults.at(&rcpt(&here)), None);
    faults.set(settings(&GREY.replace("451", "450"))).unwrap();
    assert!(faults.at(&rcpt(&here)).is_some(), "another fault");
    assert!(faults.set(settings(&GREY.replace("451", "x"))).unwrap_err().to_string().contains("grey: what.reply"));
    assert!(faults.is_on(), "what was wrong changes nothing");
    faults.set(Settings::default()).unwrap();
    assert!(!faults.is_on());
}

#[test]
fn delays_add_up_and_the_first_action_counts() {
    let json = r#"{
        "a":{"where":{"service":"smtp-gateway"},"what":{"delay":"2s"}},
        "b":{"where":{"service":"smtp-gateway","verb":"RCPT"},"what":{"delay":"1s"}},
        "c":{"where":{"service":"smtp-gateway","verb":"RCPT"},"what":{"cut":"before_reply"}},
        "d":{"where":{"service":"smtp-gateway","verb":"RCPT"},"what":"stall"}}"#;
    let faults = faults("smtp-gateway", json);
    let outcome = faults.at(&rcpt(&[])).unwrap();
    assert_eq!(outcome.delay, Duration::from_secs(3));
    assert_eq!(outcome.action, Some(Action::Cut(crate::Cut::BeforeReply)));
    assert_eq!(outcome.names(), "a, b, c");
    assert_eq!(faults.report().1["d"].fired, 0);
    assert_eq!(faults.at(&Point::connect(Hop::AgentToSmtp)), None, "a delay of commands");
}

#[test]
fn connections_are_shaped_at_their_beginning_or_at_a_command() {
    let json = r#"{
        "slow":{"where":{"service":"pop3-gateway","direction":"sent"},"what":{"throttle":100}},
        "cut":{"where":{"service":"pop3-gateway","verb":"RETR"},"what":{"cut":{"after_octets":10}}}}"#;
    let faults = faults("pop3-gateway", json);
    let begins = faults.at(&Point::connect(Hop::ClientToPop3)).unwrap();
    assert_eq!((begins.names(), begins.action), ("slow".to_owned(), None));
    assert!(!begins.shape.is_none());
    let retr = faults.at(&Point::of(Hop::ClientToPop3, &["RETR"])).unwrap();
    assert_eq!(retr.names(), "cut");
    assert_eq!(faults.at(&Point::of(Hop::ClientToPop3, &["STAT"])), None);
    // A connection that was opened before there were faults.
    let older = Point { is_shapable: false, ..Point::of(Hop::ClientToPop3, &["RETR"]) };
    assert_eq!(faults.at(&older), None);
    assert_eq!(faults.report().1["cut"].fired, 1);
}

#[test]
fn a_partition_is_between_two_stacks_and_both_see_it() {
    let json = r#"{"p":{"where":{"stack":"gmail.com"},"what":{"partition":"exmail.qq.com"}}}"#;
    let near = faults("smtp-gateway", json);
    let far = Faults::new("exmail.qq.com", "smtp-gateway", Clock::system().wall);
    far.set(settings(json)).unwrap();
    let third = Faults::new("third", "smtp-gateway", Clock::system().wall);
    third.set(settings(json)).unwrap();
    let to = |stack: Option<&'static str>| Point { peer_stack: stack, ..Point::connect(Hop::SmtpToPeer) };
    assert_eq!(near.at(&to(Some("exmail.qq.com"))).unwrap().action, Some(Action::Refuse));
    assert_eq!(far.at(&to(Some("gmail.com"))).unwrap().action, Some(Action::Refuse));
    assert_eq!(near.at(&to(Some("third"))), None);
    assert_eq!(near.at(&to(None)), None);
    assert!(!third.is_on());
}

#[test]
fn names_and_clients_are_compared() {
    let json = r#"{
        "dns":{"where":{"name":"gmail.com.","verb":"MX"},"what":{"dns":"servfail"}},
        "net":{"where":{"service":"pseudo-dns","client":"10.0.0.0/8"},"what":"stall"}}"#;
    let faults = faults("pseudo-dns", json);
    let query = Point { name: Some("GMAIL.com."), ..Point::of(Hop::GatewayToDns, &["MX"]) };
    assert_eq!(faults.at(&query).unwrap().action, Some(Action::Dns(crate::DnsAnswer::Servfail)));
    let other = Point { name: Some("x."), client: Some("10.1.1.1".parse().unwrap()), ..query };
    assert_eq!(faults.at(&other).unwrap().action, Some(Action::Stall));
    assert_eq!(faults.at(&Point { client: None, ..other }), None);
}

#[test]
fn counts_are_taken_up_elsewhere() {
    let here = ["usr@gmail.com".to_owned()];
    let (before, after) = (faults("smtp-gateway", GREY), faults("smtp-gateway", GREY));
    let outcome = before.at(&rcpt(&here)).unwrap();
    before.happened_in(&outcome, "s1");
    let counts = serde_json::to_string(&before.counts()).unwrap();
    after.go_on_from(serde_json::from_str(&counts).unwrap());
    assert_eq!(after.report(), before.report());
    assert_eq!(after.at(&rcpt(&here)), None, "this recipient was seen before");
    after.go_on_from(Counts::default());
    assert!(after.at(&rcpt(&here)).is_some());
}
