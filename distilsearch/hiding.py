"""Secrets in URLs (of a database, of a depot): told apart, so that they reach no file, no message and no page.

What is shown of `postgresql://me:word@host/db` is `postgresql://me:***@host/db`. Whoever opens a URL whose secret was
hidden gets it from the environment, or leaves it to the driver's own files (`~/.pgpass`, `PGPASSWORD`).
"""

import os
import re
from urllib.parse import quote, unquote

MASK = "***"
PASSWORD = "DISTILSEARCH_STORAGE_PASSWORD"
USER = re.compile(r"(?P<before>://[^\s/:@'\"]*:)(?P<secret>[^\s'\"]*)(?=@)")
QUERY = re.compile(
    r"(?P<before>[?&;](?:[\w-]*(?:password|passwd|pwd|secret|token|key|sig|signature|credential)[\w-]*)=)"
    r"(?P<secret>[^&;\s'\"]*)",
    re.IGNORECASE,
)


def hidden(text: str) -> str:
    """A text with the secrets of all URLs in it masked.

    >>> hidden("cannot open postgresql://me:word@host/db?sslpassword=x: refused")
    'cannot open postgresql://me:***@host/db?sslpassword=***: refused'
    >>> hidden("sqlite:///runs/study.db")
    'sqlite:///runs/study.db'
    """
    for pattern in (USER, QUERY):
        text = pattern.sub(lambda match: match["before"] + MASK, text)
    return text


def hidden_in(error: object, url: str) -> str:
    """What an error says, without the secrets of the URL that it is about, however it quotes them."""
    text = str(error)
    for secret in sorted(_secrets(url), key=len, reverse=True):
        text = text.replace(secret, MASK)
    return hidden(text)


def opened(url: str) -> str:
    """A URL as it is to be opened: a masked password comes from the environment, or is left to the driver."""
    password = os.environ.get(PASSWORD)
    if f":{MASK}@" not in url:
        return url
    return url.replace(f":{MASK}@", f":{quote(password, safe='')}@" if password else "@")


def _secrets(url: str) -> set[str]:
    """The secrets of a URL, as they stand in it and as they are meant."""
    there = [match["secret"] for pattern in (USER, QUERY) for match in pattern.finditer(url)]
    there += [password for password in (os.environ.get(PASSWORD),) if password]
    return {word for secret in there if secret != MASK for word in (secret, unquote(secret)) if word}
