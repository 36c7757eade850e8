"""The stand-in for the compiled deformable operator: equal to transformers' and to a loop, in value and gradient."""

from __future__ import annotations

import ast
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

torch = pytest.importorskip("torch")

PLACE = Path(__file__).resolve().parent.parent / "baselines/shim/MultiScaleDeformableAttention.py"
SHAPES = [(3, 5), (2, 2), (1, 4)]


@pytest.fixture(scope="module")
def op() -> ModuleType:
    """Loaded by its path, as a clone finds it."""
    spec = importlib.util.spec_from_file_location(PLACE.stem, PLACE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def some(frames: int, seed: int = 0, dtype=torch.float64):
    """Arguments before ``im2col_step``: 2 heads of 3 channels, 4 queries, 3 levels, 2 points; some places outside."""
    random = torch.Generator().manual_seed(seed)

    def draw(*shape: int):
        return torch.rand(*shape, generator=random, dtype=torch.float64).to(dtype)

    shapes = torch.tensor(SHAPES)
    areas = shapes.prod(1)
    starts = torch.cat([areas.new_zeros(1), areas.cumsum(0)[:-1]])
    value = draw(frames, int(areas.sum()), 2, 3) - 0.5
    places = draw(frames, 4, 2, 3, 2, 2) * 1.6 - 0.3
    return value, shapes, starts, places, draw(frames, 4, 2, 3, 2)


def by_loop(value, shapes, starts, places, weights):
    """Equation 3 read word by word: bilinear samples, zero outside, weighted, summed."""
    frames, _, heads, depth = value.shape
    queries, points = places.shape[1], places.shape[4]
    result = torch.zeros(frames, queries, heads, depth, dtype=torch.float64)
    for n in range(frames):
        for q in range(queries):
            for m in range(heads):
                for level, (height, width) in enumerate(shapes.tolist()):
                    for p in range(points):
                        x = float(places[n, q, m, level, p, 0]) * width - 0.5
                        y = float(places[n, q, m, level, p, 1]) * height - 0.5
                        left, top = int(x // 1), int(y // 1)
                        for i, part_y in ((top, top + 1 - y), (top + 1, y - top)):
                            for j, part_x in ((left, left + 1 - x), (left + 1, x - left)):
                                if 0 <= i < height and 0 <= j < width:
                                    share = part_y * part_x * float(weights[n, q, m, level, p])
                                    result[n, q, m] += share * value[n, int(starts[level]) + i * width + j, m]
    return result.flatten(2)


def test_it_is_the_equation(op: ModuleType) -> None:
    given = some(2)
    assert torch.allclose(op.ms_deform_attn_forward(*given, 64), by_loop(*given), atol=1e-12)


@pytest.mark.parametrize("frames", [1, 63, 64, 65, 130])
def test_it_equals_the_one_of_transformers_for_any_number_of_frames(op: ModuleType, frames: int) -> None:
    from transformers.models.deformable_detr.modeling_deformable_detr import MultiScaleDeformableAttention

    value, shapes, starts, places, weights = some(frames, seed=frames)
    wanted = MultiScaleDeformableAttention()(value, shapes, SHAPES, starts, places, weights, 64)
    found = op.ms_deform_attn_forward(value, shapes, starts, places, weights, 64)
    assert found.shape == (frames, 4, 6)
    assert torch.allclose(found, wanted, atol=1e-12)
    assert torch.equal(found, op.ms_deform_attn_forward(value, shapes, starts, places, weights, 7))


def test_gradients_are_those_of_autograd_and_of_differences(op: ModuleType) -> None:
    value, shapes, starts, places, weights = some(3, seed=5)
    leaves = [each.clone().requires_grad_() for each in (value, places, weights)]
    result = op.ms_deform_attn_forward(leaves[0], shapes, starts, leaves[1], leaves[2], 64)
    towards = torch.linspace(-1, 1, result.numel(), dtype=torch.float64).view_as(result)
    wanted = torch.autograd.grad(result, leaves, towards)
    with torch.no_grad():
        found = op.ms_deform_attn_backward(value, shapes, starts, places, weights, towards, 2)
    assert [each.shape for each in found] == [value.shape, places.shape, weights.shape]
    assert all(torch.allclose(a, b, atol=1e-12) for a, b in zip(found, wanted, strict=True))
    small = [each[:1].clone().requires_grad_() for each in (value, places, weights)]
    assert torch.autograd.gradcheck(
        lambda v, p, w: op.ms_deform_attn_forward(v, shapes, starts, p, w, 64), small, atol=1e-6
    )


def test_half_values_with_whole_places_keep_their_type(op: ModuleType) -> None:
    """Under autocast, as SgMg and VD-IT run, values are half and places are not."""
    value, shapes, starts, places, weights = some(2, dtype=torch.float32)
    found = op.ms_deform_attn_forward(value.bfloat16(), shapes, starts, places, weights, 64)
    assert found.dtype == torch.bfloat16
    wanted = op.ms_deform_attn_forward(value.bfloat16().float(), shapes, starts, places, weights, 64)
    assert torch.equal(found, wanted.bfloat16())


def test_it_stands_alone_and_old_pythons_read_it() -> None:
    tree = ast.parse(PLACE.read_text(), feature_version=(3, 7))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names = {each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names}
    assert names | modules == {"torch", "torch.nn", "__future__"}
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "zip"]
    assert not any(call.keywords for call in calls)  # strict= came with 3.10
