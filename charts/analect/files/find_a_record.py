"""Writes a record into a store and finds it again; ends with 1 when it does not."""

import os
import sys
import time
import uuid

from analect.client import Client

# Letters alone: a word with digits might be taken for a secret, and be replaced.
word = "".join(chr(ord("a") + int(digit, 16)) for digit in uuid.uuid4().hex[:14])
with Client(os.environ["WRITE_URL"]) as writer:
    delivery = writer.send([{"kind": "event", "input": f"the release was tested, {word}"}])
with Client(os.environ["READ_URL"]) as reader:
    until = time.monotonic() + 60
    while not reader.search(word)["items"]:
        if time.monotonic() > until:
            sys.exit(f"record {delivery.ids[0]} was stored, and not found within a minute")
        time.sleep(0.5)
print(f"record {delivery.ids[0]} was stored and found")
