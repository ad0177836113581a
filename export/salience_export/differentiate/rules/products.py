"""Products of matrices: Gemm, MatMul and Einsum."""

from collections.abc import Mapping

from salience_export.differentiate.step import Rule, Step, unbroadcast


def gemm(step: Step) -> Mapping[int, str]:
    """y = α A' B' + β C, where ' transposes where the node says so."""
    dy, left, right = step.cotangent, step.input(0), step.input(1)
    turned = [step.integer(name, 0) for name in ("transA", "transB")]
    found: dict[int, str] = {}
    if 0 in step.wanted:
        found[0] = (
            _scaled_product(step, right, dy, turned[1], 1)
            if turned[0]
            else _scaled_product(step, dy, right, 0, 1 - turned[1])
        )
    if 1 in step.wanted:
        found[1] = (
            _scaled_product(step, dy, left, 1, turned[0])
            if turned[1]
            else _scaled_product(step, left, dy, 1 - turned[0], 0)
        )
    if 2 in step.wanted:
        scaled = step.emit("Mul", dy, step.number(step.real("beta", 1.0)))
        found[2] = step.like(scaled, step.input(2))
    return found


def _scaled_product(step: Step, left: str, right: str, turn_left: int, turn_right: int) -> str:
    alpha = step.real("alpha", 1.0)
    return step.emit("Gemm", left, right, transA=turn_left, transB=turn_right, alpha=alpha)


def matmul(step: Step) -> Mapping[int, str]:
    """y = A B of the last two axes, the others broadcast; a vector is one row or one column."""
    left, right = step.input(0), step.input(1)
    ranks = len(step.sizes(left)), len(step.sizes(right))
    dy, sizes = step.cotangent, step.sizes(step.output)
    if ranks[1] == 1:
        dy, sizes = step.emit("Unsqueeze", dy, step.tape.integers(-1)), (*sizes, 1)
        right = step.emit("Unsqueeze", right, step.tape.integers(1))
    if ranks[0] == 1:
        dy, sizes = step.emit("Unsqueeze", dy, step.tape.integers(-2)), (*sizes[:-1], 1, sizes[-1])
        left = step.emit("Unsqueeze", left, step.tape.integers(0))
    found: dict[int, str] = {}
    if 0 in step.wanted:
        product = step.emit("MatMul", dy, _turned(step, right, max(2, ranks[1])))
        found[0] = _fitted(step, product, sizes[:-2], 0)
    if 1 in step.wanted:
        product = step.emit("MatMul", _turned(step, left, max(2, ranks[0])), dy)
        found[1] = _fitted(step, product, sizes[:-2], 1)
    return found


def _turned(step: Step, matrices: str, rank: int) -> str:
    """The last two axes swapped."""
    return step.emit("Transpose", matrices, perm=[*range(rank - 2), rank - 1, rank - 2])


def _fitted(step: Step, product: str, batch: tuple[int | None, ...], position: int) -> str:
    """A factor's cotangent, one matrix per product, in the shape of the factor."""
    name = step.input(position)
    own = step.sizes(name)
    if len(own) > 1:
        return unbroadcast(step, product, (*batch, *own[-2:]), name)
    if batch:
        axes = step.tape.integers(*range(len(batch)))
        product = step.emit("ReduceSum", product, axes, keepdims=0)
    return step.reshaped(product, name)


def einsum(step: Step) -> Mapping[int, str]:
    """A sum of products over indices; a factor's cotangent is one too, the output in its place."""
    inputs, output = _indices(step)
    found: dict[int, str] = {}
    for position in step.wanted:
        own = inputs[position]
        others = [at for at in range(len(inputs)) if at != position]
        known = set(output).union(*(inputs[at] for at in others))
        if len(set(own)) < len(own) or not known.issuperset(own):
            raise step.refused(f"the indices {own!r} of a factor, one alone or twice,")
        equation = ",".join([output, *(inputs[at] for at in others)]) + "->" + own
        factors = (step.input(at) for at in others)
        found[position] = step.emit("Einsum", step.cotangent, *factors, equation=equation)
    return found


def _indices(step: Step) -> tuple[list[str], str]:
    """Letters of the inputs and of the output."""
    equation = str(step.attribute("equation", "")).replace(" ", "")
    if "." in equation:
        raise step.refused("an ellipsis")
    left, arrow, output = equation.partition("->")
    if not arrow:
        letters = left.replace(",", "")
        output = "".join(sorted(each for each in set(letters) if letters.count(each) == 1))
    return left.split(","), output


PRODUCTS: Mapping[str, Rule] = {"Einsum": einsum, "Gemm": gemm, "MatMul": matmul}
