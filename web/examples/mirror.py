#!/usr/bin/env python3
"""Follows a room of a Presently gateway into a mirror: who is here, in this process, through cuts and restarts.

    mirror.py http://localhost:4000 team-7

prints a line of JSON for each change of the mirror: `add`, `update` and `del` lead from one set to the next, `live` says
that the mirror is the gateway's set, and `lost` that it may be behind. In a program of your own:

    mirror = Mirror('http://localhost:4000', 'team-7', credential=lambda: read_token())
    for change in mirror.changes():
        ...  # mirror.members is always a whole set

A token or an API key comes from the environment variable PRESENTLY_TOKEN. Needs Python 3.9 and nothing else. The rules that
it follows are those of PROTOCOL, "How to write a client".
"""

import http.client
import json
import os
import random
import sys
import time
from urllib.parse import quote, urlsplit

CONNECT_S = 10  # for a connection, and for the first frame on it
SILENCE_S = 25  # until the gateway's hello says its own
FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 30
LONGEST_LINE = 1 << 20  # a frame has about 32 KiB


class Refused(Exception):
    """The gateway refuses for good: trying again would change nothing."""


class Lost(Exception):
    """The connection is of no more use. `wait` is the time to the next try, where the gateway said it."""

    def __init__(self, why, wait=None):
        super().__init__(why)
        self.wait = wait


class Mirror:
    def __init__(self, gateway, room, credential=lambda: os.environ.get('PRESENTLY_TOKEN')):
        self.members = {}  # the members by name, as in the gateway's frames
        self.cursor = None  # the place of this set in the room's order of events
        self.fresh = False  # whether the gateway has just started, and some members are only known from before
        self._gateway = urlsplit(gateway)
        self._path = f'{self._gateway.path.rstrip("/")}/api/rooms/{quote(room, safe="")}/stream?alive=1'
        self._credential = credential
        self._parts = []
        self._retry = None
        self._shown = None  # the credential of the connection

    def changes(self):
        """Yields the changes for ever, and raises Refused."""
        waited = 0
        while True:
            wait = None
            try:
                for change in self._connection():
                    if change['action'] == 'live':
                        waited = 0  # the gateway is there: the next outage is another one
                    yield change
            except (Lost, OSError, http.client.HTTPException, ValueError) as error:
                wait = getattr(error, 'wait', None)
                yield {'action': 'lost', 'why': str(error)}
            self._parts = []  # half a snapshot is no set
            # About as long as all waits of this outage together, and never the same for two clients.
            longest = min(LONGEST_WAIT_S, FIRST_WAIT_S + waited)
            pause = longest * random.uniform(0.5 if waited else 0, 1)
            waited += pause
            time.sleep(max(pause, wait or 0))

    def _connection(self):
        connection = self._open()
        try:
            socket = connection.sock
            answer = self._answer(connection)
            yield from self._events(answer, socket)
        finally:
            connection.close()

    def _open(self):
        secure = self._gateway.scheme == 'https'
        kind = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        connection = kind(self._gateway.netloc, timeout=CONNECT_S)
        connection.connect()
        return connection

    def _answer(self, connection):
        headers = {'Accept': 'text/event-stream'}
        # Whoever is only known from before a restart is in no cursor's set, so that the whole set has to come.
        if self.cursor and not self.fresh:
            headers['Last-Event-ID'] = self.cursor
        token = self._credential()
        if token:
            headers['Authorization'] = f'Bearer {token}'
        was_shown, self._shown = self._shown, token
        connection.request('GET', self._path, headers=headers)
        answer = connection.getresponse()
        kind = (answer.getheader('Content-Type') or '').split(';')[0]
        if answer.status == 200 and kind == 'text/event-stream':
            return answer
        refusal = problem(answer) if kind == 'application/problem+json' else None
        if not refusal:  # a proxy's page, say: the gateway is somewhere behind it
            raise Lost(f'status {answer.status} of something else than the gateway')
        if refusal['code'] == 'token_expired' and token == was_shown:
            raise Refused('token_expired: there is no newer token')
        if not refusal.get('retry'):
            raise Refused(f'{refusal["code"]}: {refusal.get("detail")}')
        raise Lost(refusal['code'], wait=seconds(answer.getheader('Retry-After')))

    def _events(self, answer, socket):
        event = ''
        while True:
            line = answer.readline(LONGEST_LINE)  # raises a timeout after silence
            if not line.endswith(b'\n'):
                raise Lost('the stream ended', wait=self._retry)
            field, _, value = line.decode().rstrip('\r\n').partition(':')
            value = value.removeprefix(' ')
            if not line.strip():
                event = ''
            elif field == 'event':
                event = value
            elif field == 'retry':
                self._retry = int(value) / 1000
            elif field == 'data':
                frame = json.loads(value)
                if event == 'refused':
                    self._refuse(frame)
                self._retry = None  # a gateway that stops says another one last
                if frame['action'] == 'hello':
                    socket.settimeout(frame['silence'] / 1000)
                yield from self._take(frame)

    def _refuse(self, frame):
        """A gateway that ends the stream says why. A token that is over may be followed by a newer one."""
        if not frame['retry']:
            raise Refused(f'{frame["code"]}: {frame["message"]}')
        raise Lost(frame['code'], wait=self._retry)

    def _take(self, frame):
        """Applies a frame, and yields what it changes. There will be more actions than these: they are ignored."""
        action = frame['action']
        if action in ('snapshot', 'changes'):
            whole = self._joined(frame)
            if whole:
                yield from self._whole(whole)
        elif action == 'resumed':
            yield from self._stands(frame)
        elif action in ('add', 'update'):
            known = self.members.get(frame['user'])
            # Whoever was kept through a restart comes back by an `add`.
            if bool(known) == (action == 'add') and not self.fresh:
                self._distrust(f'{action} of {frame["user"]}')
            yield from self._put({**frame, 'joined': frame.get('joined') or known['joined']})
            self.cursor = frame['cursor']
        elif action == 'del':
            if frame['user'] not in self.members:
                self._distrust(f'del of {frame["user"]}')
            yield from self._drop(frame)
            self.cursor = frame['cursor']

    def _joined(self, frame):
        """All parts as one frame, or None before the last one: set and cursor stay as they are until then."""
        if frame['part'] == 0:
            self._parts = []  # a new snapshot may begin before the last part of one
        if frame['part'] != len(self._parts) or (self._parts and self._parts[0]['cursor'] != frame['cursor']):
            self._distrust(f'part {frame["part"]}')
        self._parts.append(frame)
        if not frame['last']:
            return None
        parts, self._parts = self._parts, []
        lists = {name: [one for part in parts for one in part.get(name, ())] for name in ('users', 'set', 'gone')}
        return {**frame, **lists}

    def _whole(self, frame):
        if frame['action'] == 'snapshot' and not frame.get('fresh_for'):
            present = {member['user'] for member in frame['users']}
            for user in [user for user in self.members if user not in present]:
                yield from self._drop({'user': user})
        # Just after its start the gateway may not know all members yet: those of before stay.
        for gone in frame['gone']:
            yield from self._drop(gone)
        for member in frame['users'] + frame['set']:
            yield from self._put(member)
        yield from self._stands(frame)

    def _stands(self, frame):
        self.cursor = frame['cursor']
        self.fresh = bool(frame.get('fresh_for'))
        yield {'action': 'live', 'cursor': self.cursor, 'fresh': self.fresh}

    def _put(self, member):
        known = self.members.get(member['user'])
        member = {'user': member['user'], 'meta': member['meta'], 'info': member.get('info', {}), 'joined': member['joined']}
        self.members[member['user']] = member
        if member != known:
            yield {'action': 'update' if known else 'add', **member}

    def _drop(self, gone):
        if self.members.pop(gone['user'], None):
            yield {'action': 'del', 'user': gone['user'], 'reason': gone.get('reason')}

    def _distrust(self, what):
        """What does not follow says that something was missed: the whole set has to come."""
        self.cursor = None
        raise Lost(f'{what} does not follow')


def problem(answer):
    """A refusal (RFC 9457) of the gateway, which has a `code`; else None."""
    try:
        refusal = json.loads(answer.read(LONGEST_LINE))
        return refusal if refusal.get('code') else None
    except (ValueError, AttributeError):
        return None


def seconds(header):
    return float(header) if header and header.isdigit() else None


def main():
    if len(sys.argv) != 3:
        sys.exit('usage: mirror.py GATEWAY ROOM')
    try:
        for change in Mirror(*sys.argv[1:]).changes():
            print(json.dumps(change), flush=True)
    except Refused as refusal:
        sys.exit(f'refused: {refusal}')
    except (KeyboardInterrupt, BrokenPipeError):
        pass


if __name__ == '__main__':
    main()
