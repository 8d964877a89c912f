//! The list of mail and a message, as they are used.

use crate::browser::{Window, with_browser};
use town_tests::{Plan, TestTown, USR, USR1, USR2};

const ENTER: char = '\u{e007}';
const ESCAPE: char = '\u{e00c}';

fn message(subject: &str) -> Vec<u8> {
    format!("From: Anna <{USR1}>\r\nTo: {USR2}\r\nSubject: {subject}\r\n\r\nThe text of {subject}.\r\n").into_bytes()
}

const RICH: &str = concat!(
    "From: Shop <usr1@mail.sustech.edu.cn>\r\nTo: usr2@mail.sustech.edu.cn\r\nSubject: Confirm your address\r\nMIME-Version: 1.0\r\n",
    "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nContent-Type: text/html; charset=utf-8\r\n\r\n",
    "<body style='font-family:sans-serif;background:#f4f4f7'><h1>Confirm your address</h1><p>Your code is <b>481516</b>.</p>",
    "<p><a href='https://shop.test/?c=481516'>Confirm</a></p><img src='https://shop.test/pixel.gif' alt=''></body>\r\n",
    "--b\r\nContent-Type: application/pdf\r\nContent-Disposition: attachment; filename=\"report.pdf\"\r\n\r\n%PDF-1.7\r\n--b--\r\n",
);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mail_arrives_without_a_reload_and_is_found_read_and_deleted() {
    let town = TestTown::start_with_console(Plan::default()).await;
    with_browser(town.console(), Window::Wide, async |browser| {
        browser.open("/mail").await;
        browser.appears(".empty pre").await;
        browser.picture("empty").await;
        browser.holds("document.getElementById('link-state').dataset.state === 'live'").await;
        browser.script("window.marker = true").await;
        town.send(USR1, &[USR2], &message("first")).await;
        browser.holds("document.querySelectorAll('.row.unread').length === 1").await;
        browser.holds("document.getElementById('announcer').textContent.includes('first')").await;
        let rich = town.send(USR1, &[USR2], RICH.as_bytes()).await;
        town.send(USR1, &[USR2, USR], &message("third")).await;
        browser.holds("document.querySelectorAll('.row').length === 4").await;
        assert_eq!(browser.script("return window.marker").await, true, "the page was loaded again");
        // Hidden, it hears nothing; shown again, it catches up.
        let hide = |hidden: bool| {
            format!(
                "Object.defineProperty(document, 'hidden', {{ value: {hidden}, configurable: true }}); \
                 document.dispatchEvent(new Event('visibilitychange'))"
            )
        };
        browser.script(&hide(true)).await;
        let meanwhile = town.send(USR1, &[USR2], &message("meanwhile")).await;
        browser.settled().await;
        assert_eq!(browser.script("return document.querySelectorAll('.row').length").await, 4);
        browser.script(&hide(false)).await;
        browser.holds("document.querySelectorAll('.row').length === 5").await;
        browser.script(&format!("fetch('/v1/mail/{meanwhile}', {{ method: 'DELETE' }})")).await;
        browser.holds("document.querySelectorAll('.row').length === 4").await;
        browser.picture("list").await;
        browser.click("#theme").await;
        browser.click("#theme").await;
        assert_eq!(browser.script("return document.documentElement.dataset.theme").await, "dark");
        browser.picture("list-dark").await;

        browser.write("#search", "subject:confirm").await;
        browser.press(ENTER).await;
        browser.holds("location.search.includes('confirm') && document.querySelectorAll('.row').length === 1").await;
        browser.open("/mail?query=subject:a%20is:new").await;
        assert_eq!(browser.text("#query-fault mark").await, "is:new");
        browser.picture("query-fault").await;

        browser.open(&format!("/mail/{rich}")).await;
        browser.appears("iframe[sandbox]").await;
        assert!(browser.text(".view-tools").await.contains("1 remote image is not loaded"));
        browser.picture("message-dark").await;
        browser.click("#theme").await;
        browser.picture("message").await;
        browser.click(".segments a:first-child").await;
        browser.holds("document.querySelector('.stage.phone iframe')?.offsetWidth === 390").await;
        browser.picture("message-phone-width").await;
        browser.open(&format!("/mail/{rich}?tab=files")).await;
        assert!(browser.text(".attachment").await.contains("report.pdf"));
        browser.picture("attachments").await;
        browser.click("#delete").await;
        browser.is_at("/mail").await;
        browser.holds("document.querySelectorAll('.row').length === 3").await;
    })
    .await;
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_keyboard_is_enough() {
    let town = TestTown::start_with_console(Plan::default()).await;
    let mut sent = Vec::new();
    for subject in ["one", "two", "three"] {
        sent.push(town.send(USR1, &[USR2], &message(subject)).await);
    }
    with_browser(town.console(), Window::Wide, async |browser| {
        browser.open("/mail").await;
        browser.holds("document.querySelectorAll('.row').length === 3").await;
        browser.press('j').await;
        browser.press('j').await;
        browser.holds("document.querySelector('.row.current .subject')?.textContent === 'two'").await;
        browser.press(ENTER).await;
        browser.is_at(&format!("/mail/{}", sent[1])).await;
        browser.press('j').await;
        browser.is_at(&format!("/mail/{}", sent[0])).await;
        browser.press('u').await;
        browser.is_at("/mail").await;
        browser.holds("document.querySelector('.row.current .subject')?.textContent === 'one'").await;
        browser.press('#').await;
        browser.holds("document.querySelectorAll('.row').length === 2").await;
        browser.press('/').await;
        browser.holds("document.activeElement.id === 'search'").await;
        browser.press('j').await;
        browser.press(ESCAPE).await;
        browser
            .holds("document.activeElement.id !== 'search' && document.getElementById('search').value === 'j'")
            .await;
        browser.press('?').await;
        browser.appears("dialog#keys[open]").await;
        browser.picture("keys").await;
        browser.press(ESCAPE).await;
        browser.holds("!document.querySelector('dialog[open]')").await;
    })
    .await;
    town.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_is_composed_and_sent_again() {
    let town = TestTown::start_with_console(Plan::default().rfc()).await;
    with_browser(town.console(), Window::Wide, async |browser| {
        browser.open("/compose").await;
        browser.write("#to", USR2).await;
        browser.write("#subject", "Grüße").await;
        browser.write("#text", "hello\n.").await;
        browser.click("button.primary").await;
        browser.appears(".notice.ok").await;
        assert!(browser.text(".notice.ok pre").await.starts_with("250 2.0.0 OK queued as "));
        browser.picture("composed").await;
        browser.click(".notice.ok a").await;
        browser.appears("main[data-message]").await;
        assert_eq!(browser.text("h1").await, "Grüße");
        browser.click("a[href^='/compose?again=']").await;
        browser.appears("input[name=again]").await;
        browser.write("#to", ", nobody@mail.sustech.edu.cn").await;
        browser.click("button.primary").await;
        browser.appears(".notice.waiting").await;
        assert!(browser.text(".notice.waiting").await.contains("550 5.1.1"));
        browser.picture("sent-again").await;
    })
    .await;
    assert_eq!(town.mail(USR2).await.len(), 2);
    town.stop().await;
}
