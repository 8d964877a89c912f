//! A phone: 390 pixels wide.

use crate::browser::{Window, with_browser};
use town_tests::{Plan, TestTown, USR, USR1, USR2};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_phone_shows_all_without_scrolling_sideways() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let subject = "A subject that is much longer than a phone is wide ".repeat(3);
    let word = "unbroken".repeat(40);
    let message = format!("From: {USR1}\r\nTo: {USR2}\r\nSubject: {subject}{word}\r\n\r\n{word}\r\n");
    let id = town.send(USR1, &[USR2, USR], message.as_bytes()).await;
    with_browser(town.console(), Window::Phone, async |browser| {
        let pages = [("phone-list", "/mail".to_owned()), ("phone-empty", "/mail?mailbox=nobody@gmail.com".to_owned())];
        let message = ["", "?tab=headers", "?tab=source"].map(|tab| ("phone-message", format!("/mail/{id}{tab}")));
        for (name, path) in pages.into_iter().chain(message).chain([("phone-compose", "/compose".to_owned())]) {
            browser.open(&path).await;
            browser.settled().await;
            let width = browser.script("return document.documentElement.scrollWidth").await;
            browser.picture(name).await;
            assert!(width.as_u64().unwrap() <= 390, "{path} is {width} wide");
        }
        browser.open("/mail").await;
        browser.holds("!document.querySelector('.side-inner').checkVisibility()").await;
        browser.click(".side-toggle").await;
        browser.holds("document.querySelector('.side-inner').checkVisibility()").await;
        browser.picture("phone-mailboxes").await;
        browser.click(".side-inner a[href*='usr%40gmail.com']").await;
        browser
            .holds("location.search.includes('usr%40gmail.com') && document.querySelectorAll('.row').length === 1")
            .await;
    })
    .await;
    town.stop().await;
}
