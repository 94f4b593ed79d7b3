"""A real SMTP server for tests: three listeners on free ports, mails into a Maildir.

usage: smtp_server.py MAILDIR CERT KEY

Prints one line "ready STARTTLS_PORT TLS_PORT PLAIN_PORT" and serves until it is ended. The first
two want the login labstat / secret; the third takes anything from this machine. What is answered
otherwise than with 250 stands in SENDERS, RECIPIENTS and CONTENTS, by the first part of an address.
"""

import logging
import mailbox
import signal
import socket
import ssl
import sys
import warnings

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import AuthResult, LoginPassword

# It warns of what the tests want: a login on a connection secured from the first byte.
warnings.simplefilter("ignore")
logging.disable(logging.WARNING)

maildir, certificate, key = sys.argv[1:4]


SENDERS = {"maintenance": "554 5.3.2 back in an hour"}
RECIPIENTS = {
    "busy": "451 4.3.0 try again later",
    "closing": "421 4.3.2 shutting down",
    "full": "552 5.2.2 mailbox full",
    "login": "530 5.7.0 authentication required",
    "nobody": "550 5.1.1 no such mailbox",
}
CONTENTS = {
    "big": "552 5.3.4 message too big",
    "picky": "554 5.6.0 content rejected",
    "slow": "451 4.3.0 queue file write error",
}


def answer(answers, address):
    return answers.get(address.split("@")[0])


class Handler:
    async def handle_MAIL(self, server, session, envelope, address, options):
        if answer(SENDERS, address):
            return answer(SENDERS, address)
        envelope.mail_from = address
        return "250 OK"

    async def handle_RCPT(self, server, session, envelope, address, options):
        if answer(RECIPIENTS, address):
            return answer(RECIPIENTS, address)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        for address in envelope.rcpt_tos:
            if answer(CONTENTS, address):
                return answer(CONTENTS, address)
        message = mailbox.MaildirMessage(envelope.content)
        message["X-Test-From"] = envelope.mail_from
        message["X-Test-To"] = ",".join(envelope.rcpt_tos)
        secured = server.transport.get_extra_info("sslcontext") is not None
        message["X-Test-TLS"] = str(secured)
        login = session.auth_data.login.decode() if session.authenticated else "none"
        message["X-Test-Login"] = login
        mailbox.Maildir(maildir).add(message)
        return "250 2.0.0 queued"


def authenticate(server, session, envelope, mechanism, data):
    right = isinstance(data, LoginPassword) and (data.login, data.password) == (b"labstat", b"secret")
    return AuthResult(success=right, handled=False, auth_data=data)


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(certificate, key)
login = {"authenticator": authenticate, "auth_required": True}
kinds = [
    {"tls_context": context, "require_starttls": True, **login},
    {"ssl_context": context, "auth_require_tls": False, **login},
    {},
]
controllers = [Controller(Handler(), hostname="127.0.0.1", port=free_port(), **kind) for kind in kinds]
for controller in controllers:
    controller.start()
print("ready", *(controller.port for controller in controllers), flush=True)
signal.sigwait([signal.SIGTERM, signal.SIGINT])
for controller in controllers:
    controller.stop()
