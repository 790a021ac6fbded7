"""infinity-Video against numbers from running its code. Tolerances are those of the fixtures' description."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from vidmem.memory.basis import Gaussians, evaluate_rectangles, fit_rectangles, rectangular_basis
from vidmem.memory.continuous import density, scores
from vidmem.memory.policies import infinity_video_reference as reference

from .fixture import Fixture


def group_of(name: str) -> str:
    return name.split("__")[0]


def check_of(group: str) -> Callable[[Fixture, str], None] | None:
    checks = {
        "Ginf_": check_update_operator,
        "G_": check_first_operator,
        "rect": check_rectangles,
        "rbf_": check_gaussians,
        "ltm_": check_module,
        "sticky": check_sticky,
    }
    return next((check for prefix, check in checks.items() if group.startswith(prefix)), None)


def operator(position: Tensor, num_coefficients: int) -> Tensor:
    """What the reference multiplies values with, (L, N): the fit of one unit sample at each position."""
    return fit_rectangles(torch.eye(len(position)), position, num_coefficients).mT


def tau_of(fixture: Fixture, group: str) -> float:
    """As the reference was given it, in float64: whether the last position is rounded to 1 may hang on that."""
    return round(float(fixture[f"{group}__tau"]), 6)


def check_first_operator(fixture: Fixture, group: str) -> None:
    num_frames, num_coefficients = fixture.ints(f"{group}__params")
    position = reference.first_positions(num_frames).rows
    fixture.close(f"{group}__G", operator(position, num_coefficients), atol=1e-5)
    middle = (torch.arange(num_frames) + 0.5) / num_frames
    fixture.close(f"{group}__psi_at_mid", rectangular_basis(middle, num_coefficients), atol=0)


def check_rectangles(fixture: Fixture, group: str) -> None:
    (num_coefficients,) = fixture.ints(f"{group}__n")
    fixture.close(f"{group}__psi", rectangular_basis(fixture[f"{group}__t"], num_coefficients), atol=0)


def check_update_operator(fixture: Fixture, group: str) -> None:
    num_frames, num_coefficients, num_samples = fixture.ints(f"{group}__params")
    tau = tau_of(fixture, group)
    position = reference.update_positions(num_samples, num_frames, tau).rows
    fixture.close(f"{group}__G", operator(position, num_coefficients), atol=1e-5)
    uniform = rectangular_basis(reference.uniform_draws(num_samples, tau), num_coefficients)
    fixture.close(f"{group}__uniform_psi", uniform[: len(fixture[f"{group}__uniform_psi"])], atol=0)


def check_gaussians(fixture: Fixture, group: str) -> None:
    num_frames, num_coefficients, num_samples = fixture.ints(f"{group}__params")
    bumps = Gaussians.grid(num_coefficients, fixture[f"{group}__sigmas"].tolist())
    fixture.close(f"{group}__mu", bumps.centre, atol=1e-6)
    fixture.close(f"{group}__sigma", bumps.width, atol=0)
    first = reference.first_positions(num_frames)
    later = reference.update_positions(num_samples, num_frames, 0.75)
    for name, where in (("G", first), ("Ginf", later)):
        unit = torch.eye(len(where.rows))
        fixture.close(f"{group}__{name}", bumps.fit(unit, where.rows, padding=where.padding).mT, atol=1e-3)
    coefficients = bumps.fit(fixture[f"{group}__x"], first.rows, padding=first.padding)
    fixture.close(f"{group}__B", coefficients, atol=1e-3)
    fixture.close(f"{group}__recon", bumps.evaluate(coefficients, first.rows), atol=1e-3)


def check_module(fixture: Fixture, group: str) -> None:
    num_coefficients, num_samples, num_heads, _ = fixture.ints(f"{group}__params")
    tau = tau_of(fixture, group)
    names = ("key_weight", "key_bias", "value_weight", "value_bias")
    project = reference.Projections(*(fixture[f"{group}__{name}"] for name in names), num_heads=num_heads)
    chunks = fixture[f"{group}__x"].mean(1).split(fixture.ints(f"{group}__chunk_len"))
    queries = reference.split_heads(fixture[f"{group}__query"], num_heads)
    sticky = f"{group}__bins" in fixture
    past, coefficients, contexts, probabilities = None, [], [], []
    for index, chunk in enumerate(chunks):
        draws = None
        if past is not None and sticky:
            probabilities.append(reference.sticky_probability(queries[index - 1], project.key(past)))
            draws = reference.sticky_draws(fixture[f"{group}__bins"][index - 1])
        past = reference.update(
            past, chunk, num_coefficients=num_coefficients, tau=tau, draws=draws, num_samples=num_samples
        )
        context = reference.read(queries[index], project.key(past), project.value(past))
        coefficients.append(past)
        contexts.append(context.transpose(-3, -2).flatten(-2))
    fixture.close(f"{group}__B", torch.stack(coefficients), atol=1e-4)
    fixture.close(f"{group}__context", torch.stack(contexts), atol=1e-4)
    if sticky:
        fixture.close(f"{group}__prob", torch.stack(probabilities), atol=1e-4)


def check_sticky(fixture: Fixture, group: str) -> None:
    queries, keys, values = (fixture[f"{group}__{name}"] for name in ("queries", "keys", "values"))
    fixture.close(f"{group}__context", reference.read(queries, keys, values), atol=1e-5)
    at_bins = density(scores(queries, keys), reference.bin_edges())
    fixture.close(f"{group}__density_at_bins", at_bins, atol=1e-5)
    fixture.close(f"{group}__prob", reference.sticky_probability(queries, keys), atol=1e-5)
    draws = reference.sticky_draws(fixture[f"{group}__drawn_bins"])
    fixture.close(f"{group}__t", draws, atol=1e-6)
    past, frames = fixture[f"{group}__B_past"], fixture[f"{group}__x_new"].mT
    fixture.close(f"{group}__psi", rectangular_basis(draws, len(past)), atol=0)
    fixture.close(f"{group}__resampled", evaluate_rectangles(past, draws).mT, atol=1e-5)
    updated = reference.update(past, frames, num_coefficients=len(past), tau=0.75, draws=draws)
    fixture.close(f"{group}__B_new", updated, atol=1e-5)
