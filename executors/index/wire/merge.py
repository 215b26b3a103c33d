"""The merge of all shards' answers to one request: pure functions, with an account of which shards answered.

Every shard answers every document of the request, in its order, with `hits` holding JSON columns that start with the
shard's identity. No fault of a shard raises an exception here: it becomes the error of the document.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TypeAlias

import orjson

from executors.documents import Failure, ImageDoc
from executors.errors import ABSENT, VisualSearchError
from executors.index.tag_values import value_key
from executors.index.wire.columns import Columns, unpack
from executors.index.wire.hits import HIT_COLUMNS

# Score (negated), id, and the position of the hit: the shard's position and the row.
Ranked: TypeAlias = tuple[float, str, int, int]


@dataclass(frozen=True, slots=True)
class Account:
    """The shards in an answer: how many there are, how many answered, and why the answer can't be trusted, if so."""

    total: int
    answered: int
    fault: Failure | None = None


def take_account(columns: Sequence[Columns]) -> Account:
    """Check the shards that answered: one index, every shard number once, one opinion on the number of shards."""
    shards = [tuple(each["shard"]) for each in columns if each.get("shard")]
    if not shards:
        return Account(0, 0, _identity_fault("no shard of the index reports its identity", []))
    total = max(shard[2] for shard in shards)
    uuids = {shard[0] for shard in shards}
    numbers = {shard[1] for shard in shards}
    if len(uuids) > 1:
        fault = _identity_fault("the shards belong to different indexes", sorted(uuids))
        return Account(total, len(numbers), fault)
    if len(numbers) < len(shards) or any(shard[2] != total for shard in shards):
        fault = _identity_fault("the shards disagree about their numbers", [f"{s[1]} of {s[2]}" for s in shards])
        return Account(total, len(numbers), fault)
    return Account(total, len(numbers))


def _identity_fault(message: str, found: list[str]) -> Failure:
    return Failure.of(VisualSearchError("shard_identity", message, found=found), "index")


def merge_shards(
    per_shard: Sequence[Sequence[ImageDoc]],
    merge_one: Callable[[Sequence[ImageDoc], Sequence[Columns]], ImageDoc],
    *,
    strict: bool = True,
) -> list[ImageDoc]:
    """Merge position by position; `merge_one` gets the documents of the shards that answered one position.

    A fault of a whole shard (identity, storage, a defect) becomes the answer's error, so that the other shards' answers
    do not look complete. Only a report on the shards themselves is merged with `strict=False`, including faults.
    """
    merged = []
    for answers in zip(*per_shard, strict=True):
        columns = [unpack(answer) for answer in answers]
        account = take_account(columns)
        failed = next((each.error for each in answers if each.error and each.error.code not in ABSENT), None)
        fault = failed or account.fault
        document = refusal(answers[0], fault) if fault and strict else merge_one(answers, columns)
        document.put(shards_total=account.total, shards_answered=account.answered)
        for each in columns:
            if "partial" in each:
                # Missing parts of a shard count like missing shards.
                document.shards_answered, document.shards_total = each["partial"]
        merged.append(document)
    return merged


def refusal(document: ImageDoc, fault: Failure) -> ImageDoc:
    """The answer of all shards if it is an error."""
    return ImageDoc.from_values(id=document.id, tags=document.tags, error=fault)


def merge_search(answers: Sequence[ImageDoc], columns: Sequence[Columns], *, limit: int, offset: int) -> ImageDoc:
    """The best hits of all shards: by score, ties by id (code points), the newest copy of each id; then the page.

    With groups, the best hit of each over all shards, and the page counts groups.
    """
    failures = [answer.error for answer in answers if answer.error]
    if len(failures) == len(answers):
        return refusal(answers[0], failures[0])
    found = [each for each in columns if "ids" in each]
    places = newest_copies(found)
    ranked: Iterable[Ranked] = sorted(
        (-found[shard]["scores"][row], document_id, shard, row) for document_id, (shard, row) in places.items()
    )
    if found and "groups" in found[0]:
        ranked = _first_of_groups(ranked, found)
    page = list(islice(ranked, offset, offset + limit))
    names = [name for name in HIT_COLUMNS if found and name in found[0]]
    hits: Columns = {name: [found[shard][name][row] for _, _, shard, row in page] for name in names}
    plans = [{"shard": each["shard"][1], **each["plan"]} for each in found if "plan" in each and each["shard"]]
    if plans:
        hits["plans"] = sorted(plans, key=lambda plan: int(plan["shard"]))
    return ImageDoc.from_values(id=answers[0].id, tags=answers[0].tags, hits=orjson.dumps(hits))


def newest_copies(found: Sequence[Columns]) -> dict[str, tuple[int, int]]:
    """For each id, the shard and row of its newest copy."""
    newest: dict[str, tuple[str, int, int]] = {}
    for shard, each in enumerate(found):
        for row, (document_id, version) in enumerate(zip(each["ids"], each["versions"], strict=True)):
            known = newest.get(document_id)
            if known is None or version > known[0]:
                newest[document_id] = (version, shard, row)
    return {document_id: (shard, row) for document_id, (_, shard, row) in newest.items()}


def _first_of_groups(ranked: Iterable[Ranked], found: Sequence[Columns]) -> Iterator[Ranked]:
    seen: set[str] = set()
    for each in ranked:
        key = value_key(found[each[2]]["groups"][each[3]])
        if key not in seen:
            seen.add(key)
            yield each


def merge_write(answers: Sequence[ImageDoc], columns: Sequence[Columns]) -> ImageDoc:
    """One write that every shard tried: the outcome of the shard that holds the id, or `not_found`.

    Documents that a delete removed with its document may have been in any shard: `descendants` are those of all.
    """
    done = [answer for answer in answers if answer.error is None and answer.result != "not_found"]
    chosen = max(done, key=lambda answer: answer.version or "", default=answers[0])
    descendants = _union(columns, "descendants")
    return ImageDoc.from_values(
        id=chosen.id,
        tags=chosen.tags,
        result=chosen.result,
        version=chosen.version,
        error=chosen.error,
        hits=orjson.dumps({"descendants": descendants}) if descendants else None,
    )


def merge_get(answers: Sequence[ImageDoc], columns: Sequence[Columns]) -> ImageDoc:
    """One document that one shard holds; the newest copy if a crash left two."""
    found = [answer for answer in answers if answer.error is None]
    chosen = max(found, key=lambda answer: answer.version or "", default=answers[0])
    chosen.hits = None
    return chosen


def merge_supersede(answers: Sequence[ImageDoc], columns: Sequence[Columns]) -> ImageDoc:
    """The results for the older copies, a column over the ids: `unchanged` or `replaced` if any shard had one."""
    order = {"stale_version": 1, "replaced": 2, "unchanged": 3, "not_found": 4}
    # Any other outcome is an error code, which takes precedence.
    results = [
        min(outcomes, key=lambda outcome: order.get(outcome, 0))
        for outcomes in zip(*(each["results"] for each in columns), strict=True)
    ]
    return ImageDoc.from_values(id=answers[0].id, hits=orjson.dumps({"results": results}))


def gather(answers: Sequence[ImageDoc], columns: Sequence[Columns]) -> ImageDoc:
    """The reports of all shards, side by side, for endpoints that answer with a report by shard; a failure as `failed`."""
    shards = [
        each
        if answer.error is None
        else each | {"failed": answer.error.model_dump(include={"code", "message", "details"})}
        for answer, each in zip(answers, columns, strict=True)
    ]
    return ImageDoc.from_values(id=answers[0].id, hits=orjson.dumps({"shards": shards}))


def merge_adopted(answers: Sequence[ImageDoc], columns: Sequence[Columns]) -> ImageDoc:
    """The identities of all shards, side by side; they need not belong together yet. If a shard refuses, its error is
    the answer.
    """
    failure = next((each.error for each in answers if each.error), None)
    return refusal(answers[0], failure) if failure else gather(answers, columns)


def merge_count(answers: Sequence[ImageDoc], columns: Sequence[Columns]) -> ImageDoc:
    """How many documents all shards hold."""
    return _united(answers, {"count": sum(each.get("count", 0) for each in columns)})


def merge_removed(answers: Sequence[ImageDoc], columns: Sequence[Columns]) -> ImageDoc:
    """The ids of the documents that any shard removed."""
    return _united(answers, {"ids": _union(columns, "ids")})


def merge_drop(answers: Sequence[ImageDoc], columns: Sequence[Columns]) -> ImageDoc:
    """How many documents the dropped collection held in all shards; None if no shard knew it."""
    counts = [each["documents"] for each in columns if each.get("documents") is not None]
    return _united(answers, {"documents": sum(counts) if counts else None})


def _united(answers: Sequence[ImageDoc], united: Columns) -> ImageDoc:
    """Combine the reports of all shards into one; an error only if all of them gave one."""
    failures = [answer.error for answer in answers if answer.error]
    if len(failures) == len(answers):
        return refusal(answers[0], failures[0])
    return ImageDoc.from_values(id=answers[0].id, hits=orjson.dumps(united))


def _union(columns: Sequence[Columns], name: str) -> list[str]:
    return sorted({each for shard in columns for each in shard.get(name, ())})
