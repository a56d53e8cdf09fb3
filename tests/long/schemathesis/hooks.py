"""Extends schemathesis, which loads this file because of `SCHEMATHESIS_HOOKS`.

The rate limits of the server would make the answers depend on time. So the requests of a caller are made by many users
of the same rights in turn, each in a room of their own, from many addresses. No request may reach a limit.
"""

import collections
import ipaddress
import json
import os
import pathlib

import schemathesis

TEAMS = json.loads(pathlib.Path(os.environ["PARLOR_TEAMS"]).read_text())

addresses = ipaddress.ip_network("10.0.0.0/8").hosts()
requests = collections.Counter()


def existing(team):
    """The values of parameters, in the same order for each team."""
    kinds = ["rooms", "people", "made"]
    return [str(value) for kind in kinds for value in team[kind].values()]


class Sender:
    """Changes the caller, and every second time the body, of a request just before it is sent."""

    def __init__(self, team, with_body):
        self.team = team
        self.with_body = with_body

    def __call__(self, request):
        request.headers["X-Forwarded-For"] = str(next(addresses))
        # Checks also send requests without a token, and with a wrong one.
        if request.headers.get("Authorization") == f"Bearer {TEAMS[0]['token']}":
            request.headers["Authorization"] = f"Bearer {self.team['token']}"
        if self.with_body:
            request.body = self.body(request.body)
        return request

    def body(self, body):
        """Replaces generated text by values that exist."""
        try:
            values = json.loads(body)
        except (TypeError, ValueError):
            return body
        if not isinstance(values, dict):
            return body
        known = self.team["body"].items()
        known = {key: value for key, value in known if isinstance(values.get(key), str)}
        return json.dumps({**values, **known}).encode() if known else body


@schemathesis.hook
def before_call(context, case, kwargs):
    number = requests[context.operation.label]
    requests[context.operation.label] += 1
    team = TEAMS[number % len(TEAMS)]
    own = dict(zip(existing(TEAMS[0]), existing(team), strict=True))
    for name, value in list(case.path_parameters.items()):
        if str(value) in own:
            case.path_parameters[name] = own[str(value)]
    kwargs["auth"] = Sender(team, with_body=number % 2 == 0)


@schemathesis.check
def is_within_the_rate_limits(context, response, case):
    assert response.status_code != 429, "the answer depends on the time of the request"
