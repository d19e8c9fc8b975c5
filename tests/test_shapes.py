"""What functions of the course answer to input they cannot use: one sentence, and never a silent nan."""

import inspect
import math

import pytest
import torch
from torch import Tensor

from solutions.quadratic import softmax
from solutions.shapes import counts, on_method, shapes

INF, NAN = math.inf, math.nan


@shapes(q="... queries d", k="... keys d", v="... keys d_value")
def mix(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The product of all three."""
    return q @ k.mT @ v


def qkv(*leading, queries=2, keys=3, d=4, d_value=5, dtype=torch.float32):
    return (
        torch.ones(*leading, queries, d, dtype=dtype),
        torch.ones(*leading, keys, d, dtype=dtype),
        torch.ones(*leading, keys, d_value, dtype=dtype),
    )


@pytest.mark.parametrize("leading", [(), (6,), (2, 3), (0, 3)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_accepts_any_leading_dimensions_and_floating_dtype(leading, dtype):
    assert mix(*qkv(*leading, dtype=dtype)).shape == (*leading, 2, 5)


def test_accepts_keywords_and_keeps_the_function_for_the_press():
    q, k, v = qkv()
    assert torch.equal(mix(v=v, k=k, q=q), mix(q, k, v))
    assert mix.__name__ == "mix" and mix.__doc__ == "The product of all three."
    assert inspect.getsource(mix.__wrapped__).count("return") == 1


def test_a_wrong_number_of_arguments_names_the_function():
    with pytest.raises(TypeError, match="mix: missing a required argument: 'v'"):
        mix(*qkv()[:2])


def replaced(place, tensor):
    return [*qkv()[:place], tensor, *qkv()[place + 1 :]]


@pytest.mark.parametrize(
    "given, words",
    [
        (replaced(0, [[1.0]]), "q is of type list; give a torch.Tensor"),
        (replaced(1, torch.ones(3, 4).int()), "k has dtype torch.int32; give a floating dtype"),
        (replaced(1, torch.ones(3, 4).double()), "k has dtype torch.float64, but q has torch.float32"),
        (replaced(2, torch.ones(3, 5, device="meta")), "v has device meta, but q has cpu"),
        (replaced(1, torch.ones(3, 6)), "k has shape (3, 6), so d = 6, but q has 4"),
        (replaced(2, torch.ones(7, 5)), "v has shape (7, 5), so keys = 7, but k has 3"),
        (replaced(2, torch.ones(2, 3, 5)), "the leading dimensions = (2,), but q has ()"),
        (replaced(0, torch.ones(4)), "q has shape (4,), which cannot be read as (..., queries, d)"),
        (replaced(0, torch.ones(0, 4)), "q has shape (0, 4), where queries is 0"),
        (replaced(0, torch.tensor([[1.0, 1.0, 1.0, 1.0], [1.0, 1.0, NAN, 1.0]])), "q holds nan at [1, 2]"),
        (replaced(2, torch.full((3, 5), INF).where(torch.eye(3, 5) > 0, -INF)), "v holds inf at [0, 0]"),
    ],
)
def test_refuses_in_one_sentence(given, words):
    with pytest.raises(ValueError) as refusal:
        mix(*given)
    text = str(refusal.value)
    assert text.startswith("mix: ") and words in text and "; " in text, text
    assert text.endswith(".") and "\n" not in text
    assert refusal.value.__cause__ is None


def test_infinity_alone_is_not_refused():
    q, k, v = qkv()
    v[0, 0] = INF
    assert mix(q, k, v).isinf().any()


def test_overflow_on_the_way_names_the_dtype():
    q, k, v = (1000 * tensor for tensor in qkv(dtype=torch.float16))
    v[1] *= -1
    with pytest.raises(ValueError, match=r"overflow torch\.float16"):
        mix(q, k, v)


def test_only_the_outermost_call_is_checked():
    """A nan that is made and undone inside is nobody's business; the same inner call from outside is refused."""

    @shapes(x="n")
    def inner(x):
        return x / 0 * 0

    @shapes(x="n")
    def outer(x):
        return inner(x).nan_to_num(7)

    assert outer(torch.ones(2)).tolist() == [7, 7]
    with pytest.raises(ValueError, match="inner: the numbers overflow"):
        inner(torch.ones(2))


def test_checking_resumes_after_an_error_inside():
    @shapes(x="n")
    def breaks(x):
        raise KeyError("anything")

    with pytest.raises(KeyError):
        breaks(torch.ones(2))
    with pytest.raises(ValueError):
        mix(*replaced(0, torch.ones(4)))


def test_extra_check_sees_all_arguments_with_defaults():
    def positive(x, size, **_):
        if size < 0:
            raise ValueError(f"size is {size}; give 0 or more.")

    @shapes(x="n", check=positive)
    def scaled(x, size=1.0, *, unused=None):
        return x * size

    assert scaled(torch.ones(1)).item() == 1
    with pytest.raises(ValueError, match=r"scaled: size is -2; give 0 or more\."):
        scaled(torch.ones(1), size=-2)


def test_gradients_pass():
    q, k, v = (tensor.requires_grad_() for tensor in qkv())
    mix(q, k, v).sum().backward()
    assert all(tensor.grad is not None for tensor in (q, k, v))


@counts("n", "heads")
def product(n, heads=1, other="anything"):
    return n * (heads or 1)


@pytest.mark.parametrize("n", [1, 7, torch.tensor(3)])
def test_counts_accept_whole_numbers(n):
    assert product(n, heads=None) == n


@pytest.mark.parametrize("n", [0, -1, 2.0, "3", [1], torch.tensor(0.5)])
def test_counts_refuse_the_rest(n):
    with pytest.raises(ValueError, match=r"product: heads is .*; give a whole number of 1 or more\."):
        product(1, heads=n)


def test_on_method_guards_a_method_and_leaves_its_source_alone():
    @on_method("grow", shapes(x="n"))
    class Plant:
        def grow(self, x):
            return x + 1

    assert Plant().grow(torch.zeros(1)).item() == 1
    with pytest.raises(ValueError, match="grow: x is of type int"):
        Plant().grow(3)


def test_the_mechanism_without_its_guard_can_be_mapped():
    x = torch.randn(3, 5, 4, generator=torch.Generator().manual_seed(0))
    mapped = torch.func.vmap(softmax.__wrapped__)(x)
    assert torch.equal(mapped, softmax(x))
    with pytest.raises(RuntimeError, match="vmap"):
        torch.func.vmap(softmax)(x)
