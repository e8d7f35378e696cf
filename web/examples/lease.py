#!/usr/bin/env python3
"""Keeps a user in a room of a Presently gateway for as long as this process runs: a lease, renewed in time.

    lease.py http://localhost:4000 team-7 worker-7 --hold "$HOSTNAME" --meta '{"status":"busy"}'

SIGTERM and SIGINT end the lease at once; without them, say after a crash, it ends `--ttl` seconds after its last renewal. A
gateway that was restarted has forgotten the lease, and learns of it by the next renewal. `--hold` names the lease, so that
several processes may hold the same user, each for itself.

A token or an API key comes from the environment variable PRESENTLY_TOKEN. Needs Python 3.9 and nothing else.
"""

import argparse
import json
import os
import random
import signal
import socket
import sys
import time
import urllib.error
import urllib.request
from urllib.parse import quote

ENDS = (signal.SIGTERM, signal.SIGINT)
FIRST_WAIT_S = 0.5


class Refused(Exception):
    """The gateway refuses for good: trying again would change nothing."""


class Failed(Exception):
    """It may work later. `wait` is the time to the next try, where the gateway said it."""

    def __init__(self, why, wait=0):
        super().__init__(why)
        self.wait = wait


class Lease:
    def __init__(self, gateway, room, user, hold, ttl, meta=None):
        self.ttl = ttl
        self._body = {'hold': hold, 'ttl': ttl, **({} if meta is None else {'meta': meta})}
        self._url = f'{gateway.rstrip("/")}/api/rooms/{quote(room, safe="")}/users/{quote(user, safe="")}'
        self._hold = hold

    def renew(self):
        """Takes the lease, or takes it for `ttl` more seconds. What it says already is not said anew."""
        return self._ask('PUT', self._url, self._body)

    def end(self):
        """Ends this lease alone. Other holds of the user stay."""
        self._ask('DELETE', f'{self._url}?hold={quote(self._hold, safe="")}')

    def _ask(self, method, url, body=None):
        headers = {'Content-Type': 'application/json'} if body else {}
        token = os.environ.get('PRESENTLY_TOKEN')
        if token:
            headers['Authorization'] = f'Bearer {token}'
        request = urllib.request.Request(url, json.dumps(body).encode() if body else None, headers, method=method)
        try:
            # There must be time for other tries before the lease ends.
            with urllib.request.urlopen(request, timeout=max(1, self.ttl / 6)) as answer:
                return json.loads(answer.read() or b'{}')
        except urllib.error.HTTPError as error:
            raise judged(error) from None
        except (OSError, ValueError) as error:
            raise Failed(f'no answer: {error}') from None


def judged(error):
    """A refusal of the gateway has a `code`; anything else is a proxy's, and passes."""
    with error:
        try:
            refusal = json.loads(error.read())
            code, text, retry = refusal['code'], refusal.get('detail'), refusal.get('retry')
        except (ValueError, KeyError, TypeError):
            return Failed(f'status {error.code} of something else than the gateway')
    # A token of the environment stays what it is, also when it is over.
    if not retry or code == 'token_expired':
        return Refused(f'{code}: {text}')
    after = error.headers.get('Retry-After') or ''
    return Failed(code, wait=float(after) if after.isdigit() else 0)


def keep(lease, say):
    """Renews until a signal comes: after a third of the time, so that two tries more fit in, and soon after a failure."""
    failed_for = 0
    while True:
        try:
            expires = lease.renew()['expires']
            failed_for = 0
            pause = lease.ttl / 3 * random.uniform(0.8, 1)
            say(f'held until {expires}')
        except Failed as failure:
            longest = min(lease.ttl / 3, FIRST_WAIT_S + failed_for)
            pause = max(longest * random.uniform(0.5, 1), failure.wait)
            failed_for += pause
            say(f'not renewed: {failure}')
        if signal.sigtimedwait(ENDS, pause):
            return


def end(lease, say):
    """The lease ends by itself where the gateway cannot be reached."""
    for _ in range(3):
        try:
            lease.end()
            say('ended')
            return
        except Failed as failure:
            say(f'not ended: {failure}')
            time.sleep(FIRST_WAIT_S * random.random())


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument('gateway')
    parser.add_argument('room')
    parser.add_argument('user')
    parser.add_argument('--hold', default=socket.gethostname()[:64], help='the name of this lease (the host)')
    parser.add_argument('--ttl', type=int, default=30, help='seconds that the lease lives without a renewal (30)')
    parser.add_argument('--meta', type=json.loads, help='what the lease says of the user, as JSON')
    return parser.parse_args()


def main():
    # Signals wait until `keep` looks for them, so that no request is torn apart.
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDS)
    lease = Lease(**vars(arguments()))
    say = lambda text: print(text, flush=True)
    try:
        keep(lease, say)
        end(lease, say)
    except Refused as refusal:
        sys.exit(f'refused: {refusal}')


if __name__ == '__main__':
    main()
