"""Reads a mail as a mail program would and says in JSON what is in it.

usage: read_mail.py FILE
"""

import email
import email.policy
import json
import sys

with open(sys.argv[1], "rb") as file:
    mail = email.message_from_binary_file(file, policy=email.policy.default)
pictures = {}
for part in mail.walk():
    if part.get_content_type() == "image/png":
        data = part.get_payload(decode=True)
        pictures[part["Content-ID"].strip("<>")] = [
            part.get_content_disposition(),
            data[:8] == b"\x89PNG\r\n\x1a\n" and data[-8:-4] == b"IEND",
        ]
print(json.dumps({
    "headers": {name.lower(): str(value) for name, value in mail.items()},
    "structure": [part.get_content_type() for part in mail.walk()],
    "defects": [str(defect) for part in mail.walk() for defect in part.defects],
    "plain": mail.get_body(("plain",)).get_content(),
    "html": mail.get_body(("html",)).get_content(),
    "pictures": pictures,
}))
