"""The shapes that sessions are built for."""

from salience_service.runtime.graph_shape import GraphShape, batches


def test_each_number_of_rows_is_built_for_once_with_all_other_sizes_open() -> None:
    shapes = [
        GraphShape({"N": 8, "h": 7, "w": 7}, {"S": (1, 8)}),
        GraphShape({"N": 4, "h": 14, "w": 14}, {"S": (1, 4)}),
        GraphShape({"N": 8, "h": 28, "w": 28}, {"S": (1, 8)}),
    ]
    assert batches(shapes) == [GraphShape({"N": 4}), GraphShape({"N": 8})]
    assert batches([]) == []
