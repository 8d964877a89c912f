"""What a program's own tests look like that use pytest-mailpit, which knows Mailpit only."""

import os
import smtplib
from email.message import EmailMessage

import pytest
from pytest_mailpit import MailpitAssertionError

SENDER = "usr1@mail.sustech.edu.cn"


def send(recipient, subject, text="Hello!\n"):
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = SENDER, recipient, subject
    message.set_content(text)
    message.add_alternative(f'<p>{text}</p><a href="https://shop.test/reset/4711">Reset</a>', subtype="html")
    message.add_attachment(b"%PDF-1.7", maintype="application", subtype="pdf", filename="terms.pdf")
    with smtplib.SMTP("127.0.0.1", int(os.environ["TOWN_SMTP"])) as client:
        client.send_message(message)


def test_a_message_is_waited_for_and_read(mailpit_inbox):
    send(mailpit_inbox.address, "Reset your password", "Your code is 481516.\n")
    message = mailpit_inbox.wait_for_message(subject="Reset your password", sender=SENDER)
    assert message.code() == "481516"
    assert message.link("/reset/") == "https://shop.test/reset/4711"
    assert [attachment.file_name for attachment in message.attachments] == ["terms.pdf"]


@pytest.mark.parametrize("number", range(3))
def test_each_inbox_has_its_own_mail(mailpit_inbox, number):
    for part in range(number):
        send(mailpit_inbox.address, f"part {part}")
    found = mailpit_inbox.wait_for_messages(number) if number else []
    assert [message.subject for message in found] == [f"part {part}" for part in range(number)]
    mailpit_inbox.assert_no_message(subject="something else", within=0.2)


def test_what_does_not_arrive_is_told(mailpit_inbox):
    send(mailpit_inbox.address, "Welcome")
    with pytest.raises(MailpitAssertionError, match="Welcome"):
        mailpit_inbox.wait_for_message(subject="Goodbye", timeout=1)


def test_messages_are_marked_found_and_deleted(mailpit, mailpit_inbox):
    send(mailpit_inbox.address, "first")
    send(mailpit_inbox.address, "second")
    first, second = mailpit_inbox.wait_for_messages(2)
    mailpit.mark_read([first.id])
    read = mailpit.search_all(f'to:"{mailpit_inbox.address}" is:read')
    assert "first" in [summary.subject for summary in read]
    raw = mailpit.get_raw(second.id)
    assert b"Subject: second" in raw
    mailpit.delete_messages([first.id])
    assert [one.subject for one in mailpit_inbox.messages()] == ["second"]
    mailpit_inbox.clear()
    assert mailpit_inbox.messages() == []
