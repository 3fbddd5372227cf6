"""A list in pages: one walk through it, and what may end it early."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import requests
from requests.utils import to_key_val_list

from ..errors import InvalidInput, ProviderError
from ..providers import Paging
from ..responses import finite, json_of
from .link import Link, refusal

if TYPE_CHECKING:
    import pandas

PROGRESS_AFTER_SECONDS = 2.0
EMPTY_PAGES = 100
"""Empty pages in a row that a walk puts up with: a filter leaves some, a broken cursor
any number."""
EQUAL_PAGES = 100
"""Pages in a row that may equal earlier ones, where they may be new: {"status": "DONE"}
fills many."""
Params = Mapping[str, Any] | Iterable[tuple[str, Any]] | str | bytes | None
"""What `params` of a walk may be: as for `requests.get`."""
Page = tuple[list[dict[str, Any]], int | None, Any]
"""The records of a page, how many there are in all where the provider tells, the next cursor."""


def _query(params: Any) -> dict[str, Any]:
    """`params`, in any shape that requests takes, by name: one that is given twice has a list.

    Raises `InvalidInput` for another shape, without saying it back.
    """
    query: dict[str, Any] = {}
    try:
        if isinstance(params, str | bytes):
            text = params.decode() if isinstance(params, bytes) else params
            params = parse_qsl(text.removeprefix("?"), keep_blank_values=True)
        for name, value in to_key_val_list(params or {}):  # type: ignore[no-untyped-call]
            if name in query:
                one, two = (v if isinstance(v, list | tuple) else [v] for v in (query[name], value))
                value = [*one, *two]
            query[name] = value
    except (TypeError, ValueError):
        raise InvalidInput("params= takes a dict, a list of pairs or a query string.") from None
    return query


def _following(paging: Paging, page: dict[str, Any], records: list[Any], sent: Any) -> Any:
    """The cursor or number of the page after `page`, which was asked for by `sent`; None: none."""
    if not paging.number:
        return page.get(paging.cursor) or None  # Benchling ends with "", others with null or none
    number, last = _number(sent), finite(page.get(paging.total_pages))
    return None if not records or 1 <= last <= number else number + 1


def _number(sent: Any) -> int:
    """The number of the page that `sent` asks for, the first by default. Raises `ValueError`."""
    number = finite(1 if sent is None else sent)
    if not number >= 1 or number != int(number):
        raise ValueError
    return int(number)


def _may_be_new(paging: Paging, page: dict[str, Any], records: list[Any], sent: Any) -> bool:
    """Whether `page` may be a new one though it equals an earlier one.

    A cursor leads on. A page number may be ignored, unless the server says it back; and where
    rows of one page are equal, equal pages prove nothing.
    """
    if not paging.number:
        return True
    said = (page.get(paging.number), page.get("page_number"))
    return finite(sent or 1) in map(finite, said) or len({*map(repr, records)}) < len(records)


class Walk:
    """One walk through a list of the provider that `link` leads to.

    `read(query, body)`: the good response to the request for a page, by its query parameters and
    its JSON (None for a GET).
    """

    def __init__(
        self,
        link: Link,
        read: Callable[[dict[str, Any], dict[str, Any] | None], requests.Response],
    ) -> None:
        self._link, self._read = link, read

    def begin(
        self,
        params: Params,
        json: Mapping[str, Any] | None,
        cursor: Any,
    ) -> tuple[dict[str, Any], dict[str, Any] | None]:
        """The query and body of the first request.

        `cursor`: the page to begin at (None: the first).

        Raises `InvalidInput` for what the provider's paging cannot take.
        """
        paging = self._link.provider.paging
        if json is not None and paging.verb == "GET":
            title = self._link.provider.title
            raise InvalidInput(f"{title} lists by GET, which takes no json=: give params= instead.")
        if not isinstance(json, Mapping | None):
            raise InvalidInput("json= of a walk takes a dict: the body of each request for a page.")
        query, body = _query(params), dict(json or {}) if paging.verb == "POST" else None
        sent, name = query if body is None else body, paging.number or paging.send
        if cursor is not None:
            sent[name] = cursor
        if paging.number:
            try:
                _number(sent.get(name))
            except ValueError:
                raise InvalidInput(
                    f"That cursor is not the number of a page: {self._link.provider.title} numbers "
                    "its pages 1, 2, 3. Give one of them, such as error.cursor."
                ) from None
        return query, body

    def pages(self, query: dict[str, Any], body: dict[str, Any] | None) -> Iterator[Page]:
        """Each page, asked for when it is wanted. Whatever ends it early carries what was read."""
        paging, sent = self._link.provider.paging, query if body is None else body
        name, empty, equal = paging.number or paging.send, 0, 0
        walked, seen = list[dict[str, Any]](), set[int]()
        try:
            while True:
                page, records = self._records(self._read(query, body))
                empty = 0 if records else empty + 1
                equal = equal + 1 if (mark := hash(repr(records))) in seen else 0
                most = EQUAL_PAGES if _may_be_new(paging, page, records, sent.get(name)) else 0
                if equal > most or empty > EMPTY_PAGES:
                    raise self._endless(walked, empty, equal)
                walked += records
                total = finite(page.get(paging.total_count))
                cursor = _following(paging, page, records, sent.get(name))
                yield records, int(total) if total > 0 else None, cursor
                if cursor is None:
                    return
                if hash(repr(cursor)) in seen:
                    raise self._endless(walked)
                seen |= {hash(repr(cursor)), *([mark] if records else [])}
                sent[name] = cursor
        except GeneratorExit:  # whoever walks has enough
            raise
        except BaseException as error:  # an interrupt as well
            vars(error).update(records=walked, cursor=sent.get(name))
            raise

    def _endless(
        self,
        walked: list[dict[str, Any]],
        empty: int = 0,
        equal: int = 0,
    ) -> ProviderError:
        what = "the same page twice"
        if empty > EMPTY_PAGES:
            what = f"{empty} empty pages in a row"
        elif equal > EQUAL_PAGES:
            what = f"{equal} pages in a row that it had sent before"
        return ProviderError(
            f"{self._link.provider.title} sent {what}, so the walk was ended after {len(walked)} "
            "records: they are in error.records."
        )

    def _records(self, response: requests.Response) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The page, and its records. Raises `ProviderError` for what is not a page of records."""
        title, paging = self._link.provider.title, self._link.provider.paging
        page, said = json_of(response), f"{title} responded with {response.status_code}"
        lists = (
            [n for n, v in page.items() if isinstance(v, list)] if isinstance(page, dict) else []
        )
        name = paging.items or (lists[0] if len(lists) == 1 else "")
        if page is None:
            said += f" with something other than JSON. Is {response.url} a list?"
        elif name not in lists:
            path = urlsplit(response.url).path
            said += (
                f", but {path} is not a list in pages. Use lab.get(path).json() for a single item."
            )
        elif not all(isinstance(row, dict) for row in page[name]):
            said = f"{title} sent rows that are not records. Use lab.get(path).json() for them."
        else:
            return page, page[name]
        raise refusal(self._link, said, response)


def framed(path: str, walk: Iterator[Page], limit: int | None, cursor: Any) -> pandas.DataFrame:
    """The records of `walk` (`limit`: that many at most) as a DataFrame, under a progress bar.

    Whatever ends it early carries what was read, and where to go on (first: `cursor`).
    """
    import pandas
    from tqdm.auto import tqdm

    records: list[dict[str, Any]] = []
    following = cursor
    try:
        with tqdm(unit=" records", desc=path, delay=PROGRESS_AFTER_SECONDS, leave=False) as bar:
            for page, total, after in walk:
                records += page
                following, bar.total = after, total
                bar.update(len(page))
                if limit is not None and len(records) >= limit:
                    break
        return pandas.json_normalize(records[:limit])
    except BaseException as error:  # between two pages; amid one, the walk has set them
        vars(error).setdefault("records", records)
        vars(error).setdefault("cursor", following)
        raise
