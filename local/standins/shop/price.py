"""What a query costs, by the rules in Shopify's documentation, and the bucket that the points come from.

Scalars are free and an object costs 1; where a type may be several, the dearest counts. A connection costs 2, and its
nodes as often as `first` or `last` says. Lists count their items where the arguments tell how many, else one. A
mutation costs 10 and a little for each file; what it answers is free.
"""

import time
from collections.abc import Mapping
from typing import Any

from graphql import (
    FieldNode,
    GraphQLError,
    GraphQLNamedType,
    GraphQLResolveInfo,
    InlineFragmentNode,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    get_named_type,
    get_variable_values,
    is_abstract_type,
    is_leaf_type,
    value_from_ast_untyped,
)

from local.standins.shop.schema import MOST_ITEMS, SCHEMA

MOST_POINTS = 1000  # of one query
_MUTATION = 10.0
_FILE = 1.9
_LISTS_OF_FILES = ("files", "media", "fileIds")  # arguments of mutations, each item of which costs


class Bucket:
    """The points that an app has in a shop: `rate` come back each second, and it holds those of 20 seconds."""

    def __init__(self, rate: float) -> None:
        self.rate, self.most = rate, 20 * rate
        self._level, self._at = self.most, time.monotonic()

    def available(self) -> float:
        now = time.monotonic()
        self._level, self._at = min(self.most, self._level + (now - self._at) * self.rate), now
        return self._level

    def take(self, points: float) -> bool:
        """Return whether so many points were there, and are taken; fewer than none are given back."""
        if self.available() < points:
            return False
        self._level -= points
        return True

    def told(self, requested: float, actual: float | None) -> dict[str, Any]:
        """Return the extension of an answer that says what it cost, if it was executed, and what is left."""
        return {
            "requestedQueryCost": round(requested, 1),
            "actualQueryCost": None if actual is None else round(actual, 1),
            "throttleStatus": {
                "maximumAvailable": self.most,
                "currentlyAvailable": round(self.available(), 1),
                "restoreRate": self.rate,
            },
        }


def requested(operation: OperationDefinitionNode, variables: dict[str, Any]) -> float:
    """Return what an operation may cost at most. Raises GraphQLError if its variables are not good, or too dear."""
    coerced = get_variable_values(SCHEMA, operation.variable_definitions or (), variables)
    if isinstance(coerced, list):
        raise GraphQLError(coerced[0].message, extensions={"code": "INVALID_VARIABLE"})
    if (size := _longest(variables)) > MOST_ITEMS:
        message = f"The input array size of {size} is greater than the maximum allowed of {MOST_ITEMS}."
        raise GraphQLError(message, extensions={"code": "MAX_INPUT_SIZE_EXCEEDED"})
    points = _requested(operation, coerced.coerced)
    if points > MOST_POINTS:
        message = f"Query cost is {points:.1f}, which exceeds the single query max cost limit ({MOST_POINTS})."
        raise GraphQLError(message, extensions={"code": "MAX_COST_EXCEEDED"})
    return points


def _longest(value: Any) -> int:
    """The items in the longest list of an input."""
    if isinstance(value, dict):
        return max(map(_longest, value.values()), default=0)
    return max(len(value), *map(_longest, value), 0) if isinstance(value, list) else 0


def _requested(operation: OperationDefinitionNode, variables: dict[str, Any]) -> float:
    if operation.operation is OperationType.MUTATION:
        fields = [node for node in operation.selection_set.selections if isinstance(node, FieldNode)]
        return sum(mutation(_arguments(node, variables)) for node in fields)
    return _within(SCHEMA.query_type, operation.selection_set, variables)


def mutation(arguments: Mapping[str, Any]) -> float:
    return _MUTATION + _FILE * sum(len(arguments.get(name) or []) for name in _LISTS_OF_FILES)


def actual(value: Any, info: GraphQLResolveInfo[Any]) -> float:
    """Return what a field's answer costs in a query: the objects that are there."""
    there = value if isinstance(value, list) else [value]
    return _own(get_named_type(info.return_type)) * sum(each is not None for each in there)


def _own(kind: GraphQLNamedType) -> float:
    """What one thing of this type costs by itself."""
    if is_leaf_type(kind) or kind.name == "PageInfo":
        return 0.0
    return 2.0 if kind.name.endswith("Connection") else 1.0


def _arguments(node: FieldNode, variables: dict[str, Any]) -> dict[str, Any]:
    return {each.name.value: value_from_ast_untyped(each.value, variables) for each in node.arguments or ()}


def _within(kind: Any, selected: SelectionSetNode | None, variables: dict[str, Any]) -> float:
    """What is selected in an object of this type; fragments with a name, which no client here sends, are not seen."""
    if is_abstract_type(kind):
        return max(_within(possible, selected, variables) for possible in SCHEMA.get_possible_types(kind))
    total = 0.0
    for node in selected.selections if selected else ():
        if isinstance(node, FieldNode) and node.name.value in kind.fields:
            found = get_named_type(kind.fields[node.name.value].type)
            given = _arguments(node, variables)
            items = _within(found, node.selection_set, variables)
            if found.name.endswith("Connection"):
                total += _own(found) + (given.get("first") or given.get("last") or 0) * items
            else:
                total += (len(given["ids"]) if "ids" in given else 1) * (_own(found) + items)
        elif isinstance(node, InlineFragmentNode) and node.type_condition:
            condition = SCHEMA.type_map[node.type_condition.name.value]
            if condition is kind or (is_abstract_type(condition) and SCHEMA.is_sub_type(condition, kind)):
                total += _within(kind, node.selection_set, variables)
    return total
