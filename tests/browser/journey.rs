//! The journey of a message over two domains, and the queue in which it waits.

use crate::{
    browser::{Browser, Window, with_browser},
    story::{SECOND, Story},
};
use std::time::Duration;
use town_tests::{EXMAIL, USR, USR1};

const CAPTION: &str = "document.querySelector('.player .caption').textContent";

/// Waits until the page shows this text somewhere in these elements.
async fn shows(browser: &Browser, selector: &str, text: &str) {
    browser
        .holds(&format!(
            "[...document.querySelectorAll({selector:?})].some((one) => one.textContent.includes({text:?}))"
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_waits_is_retried_and_followed_to_its_reader() {
    let story = Story::begin().await;
    let Story { town, waiting, .. } = &story;
    with_browser(town.console(), Window::Wide, async |browser| {
        browser.open(&format!("/journey/{waiting}")).await;
        shows(browser, ".fates", "It waits for the next attempt: 452 4.2.2").await;
        shows(browser, ".leg.attempt h2", "Attempt 1 to gmail.com").await;
        assert_eq!(browser.text("h1").await, SECOND);
        browser.picture("journey-waiting").await;

        browser.open("/queue").await;
        let panel = format!(".queued[data-key='{waiting}']");
        let text = browser.text(&panel).await;
        for part in [SECOND, "usr@gmail.com", "452 4.2.2", "1 attempt, next in ", "from usr1@mail.sustech.edu.cn"] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        browser.picture("queue").await;
        story.make_room().await;
        // Attempts are told apart by their times.
        town.time.advance(Duration::from_secs(5));
        browser.click(&format!("{panel} button[value=retry]")).await;
        browser.holds(&format!("location.pathname === '/queue' && !document.querySelector({panel:?})")).await;

        browser.open(&format!("/journey/{waiting}")).await;
        shows(browser, ".leg.attempt h2", "Attempt 2 to gmail.com").await;
        shows(browser, ".leg.attempt header", "Session, both ends").await;
        shows(browser, ".fates", "It is in the mailbox, and nobody has read it.").await;
        browser.script("window.marker = true").await;
        assert_eq!(town.mail(USR).await.len(), 1);
        shows(browser, ".leg.fetch h2", "usr@gmail.com reads it").await;
        shows(browser, ".fates", "It was read.").await;
        assert_eq!(browser.script("return window.marker").await, true, "the page was loaded again");
        browser.picture("journey").await;
        plays(browser).await;

        // A step leads to the place in the session.
        browser.click(".leg.attempt .step.waiting a").await;
        browser.holds("location.pathname.startsWith('/sessions/') && document.querySelector('.said:target')").await;
        browser.holds("document.querySelector('.talk.both')").await;
        browser.picture("session-both-ends").await;
    })
    .await;
    story.town.stop().await;
}

/// Step by step, in slow motion, and all at once again.
async fn plays(browser: &Browser) {
    for number in 1..=2 {
        browser.click("[data-play=next]").await;
        browser.holds(&format!("{CAPTION}.startsWith('{number} of ')")).await;
    }
    browser.press('p').await;
    browser.holds(&format!("{CAPTION}.startsWith('1 of ')")).await;
    browser.holds("document.querySelectorAll('.step.current').length === 1").await;
    browser.holds("document.querySelectorAll('.step:not(.to-come)').length === 1").await;
    browser.click("[data-play=slow]").await;
    browser.holds("document.querySelector('[data-play=slow]').textContent === 'Stop'").await;
    browser.holds(&format!("{CAPTION}.startsWith('3 of ')")).await;
    browser.picture("journey-slow-motion").await;
    browser.click("[data-play=slow]").await;
    browser.holds("document.querySelector('[data-play=slow]').textContent === 'Slow motion'").await;
    browser.click("[data-play=all]").await;
    browser.holds("!document.querySelector('.playing, .step.to-come, .step.current')").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_gives_a_message_up_has_its_sender_told() {
    let story = Story::begin().await;
    let Story { town, stuck, .. } = &story;
    let panel = format!(".queued[data-key='{stuck}']");
    with_browser(town.console(), Window::Wide, async |browser| {
        browser.open("/queue").await;
        assert!(browser.text(&panel).await.contains("connection refused"));
        browser.click(&format!("{panel} button[value=give-up]")).await;
        let question = browser.answer_question(false).await;
        assert!(question.contains("The sender gets a failure message"), "{question}");
        browser.settled().await;
        assert!(browser.text(&panel).await.contains("connection refused"), "it is still there");
        browser.click(&format!("{panel} button[value=give-up]")).await;
        browser.answer_question(true).await;
        browser.holds(&format!("!document.querySelector({panel:?})")).await;
        browser.open(&format!("/journey/{stuck}")).await;
        shows(browser, ".fates", "An operator has given it up.").await;
        shows(browser, ".leg.branch", "Sender told").await;
        browser.picture("journey-given-up").await;
    })
    .await;
    let failure = String::from_utf8(town.mail_of(USR1, 1).await.remove(0)).unwrap();
    assert!(
        failure.contains("Final-Recipient: rfc822; x@far.test") && failure.contains("given up by an operator"),
        "{failure}"
    );
    assert_eq!(town.queue(EXMAIL).await.len(), 1, "the other message waits");
    story.town.stop().await;
}
