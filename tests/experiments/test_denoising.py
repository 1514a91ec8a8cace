"""The small diffusion model: schedule, code, rows, network, sampler and measure (float64)."""

import math
from dataclasses import replace

import pytest
import torch

from dtda_lib.experiments.diffusion import denoising
from dtda_lib.models.networks import Network, initial_theta
from dtda_lib.runs.recipes import Recipe
from dtda_lib.runs.removal import leave_one_out
from dtda_lib.runs.training import train

MODEL = denoising.denoiser(3, 5, 2)
NETWORK = Network.of(MODEL)
THETA = initial_theta(MODEL, 0, torch.float64)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def codes(n, components=3, seed=0):
    return torch.randn(n, components, generator=generator(seed), dtype=torch.float64)


def task(n_images=6, n_draws=4, n_samples=3, seed=0):
    rows = denoising.random_rows(codes(n_images, seed=seed), n_draws, generator(1))
    queries = denoising.measuring_rows(codes(n_samples, seed=9), 3, 2, generator(2))
    return denoising.denoising_task("toy", rows, queries)


# --- schedule ------------------------------------------------------------------------------------


def test_schedule_is_the_cosine_of_nichol_and_dhariwal():
    share = denoising.schedule(50).cos().square()  # alpha-bar
    for t in range(1, 50):
        wanted = math.cos((t / 50 + 0.008) / 1.008 * math.pi / 2) ** 2
        wanted /= math.cos(0.008 / 1.008 * math.pi / 2) ** 2
        assert float(share[t - 1]) == pytest.approx(max(wanted, 1e-4), rel=1e-10)
    assert float(share[-1]) == pytest.approx(1e-4)
    assert (share[1:] < share[:-1]).all()
    assert share[0] < 1
    fine = denoising.schedule(10_000).cos().square()
    assert float(1 - fine[0]) < 1e-5  # the finer the steps, the less the first one takes away


def test_alpha_bar_is_the_product_of_its_steps():
    share = denoising.schedule().cos().square()
    alphas = share / torch.cat([torch.ones(1, dtype=torch.float64), share[:-1]])
    assert ((alphas > 0) & (alphas < 1)).all()
    torch.testing.assert_close(alphas.cumprod(0), share, rtol=1e-12, atol=0)


def test_too_few_steps_are_refused():
    with pytest.raises(ValueError, match="take 2 or more"):
        denoising.schedule(1)


def test_noising_keeps_unit_variance():
    x, e = (torch.randn(200_000, generator=generator(s), dtype=torch.float64) for s in (0, 1))
    for angle in denoising.schedule(4):
        assert float(denoising.noisy(x, e, angle).var()) == pytest.approx(1, abs=0.02)
    assert torch.equal(denoising.noisy(x, e, torch.zeros(())), x)


# --- code ----------------------------------------------------------------------------------------


def test_code_is_the_projection_on_principal_components():
    images = torch.rand(40, 1, 4, 4, generator=generator(), dtype=torch.float64)
    code = denoising.LinearCode.of(images, 5)
    flat = images.flatten(1)
    values, vectors = torch.linalg.eigh(torch.cov(flat.T))
    lead = vectors[:, -5:]
    projected = (flat - flat.mean(0)) @ lead @ lead.T + flat.mean(0)
    torch.testing.assert_close(code.decode(code.encode(images)).flatten(1), projected)
    assert code.explained == pytest.approx(float(values[-5:].sum() / values.sum()))
    sd = values.flip(0)[:5].sqrt()
    torch.testing.assert_close(code.encode(images).std(dim=0), sd / (sd[0] * sd).sqrt())


def test_code_does_not_depend_on_the_order_of_images():
    images = torch.rand(40, 1, 4, 4, generator=generator(), dtype=torch.float64)
    one, other = (denoising.LinearCode.of(part, 5) for part in (images, images.flip(0)))
    torch.testing.assert_close(one.encode(images), other.encode(images))


def test_too_many_components_are_refused():
    with pytest.raises(ValueError, match="take 1 to 9"):
        denoising.LinearCode.of(torch.rand(10, 1, 4, 4, generator=generator()), 10)


# --- rows ----------------------------------------------------------------------------------------


def test_draws_of_an_image_do_not_depend_on_later_images():
    few = denoising.random_rows(codes(3), 5, generator())
    more = denoising.random_rows(torch.cat([codes(3), codes(4, seed=5)]), 5, generator())
    assert torch.equal(few, more[:3])
    assert few.shape == (3, 5, 7)
    assert torch.equal(few[:, 0, :3], codes(3))
    assert not torch.equal(few[0, :, 3:6], few[1, :, 3:6])


def test_steps_are_drawn_uniformly_and_noise_is_standard():
    rows = denoising.random_rows(codes(1), 40_000, generator())[0]
    found, counts = rows[:, -1].unique(return_counts=True)
    assert torch.equal(found, denoising.schedule())
    assert float(((counts - 400) ** 2 / 400).sum()) < 150  # chi-squared, 99 degrees of freedom
    assert float(rows[:, 3:6].var()) == pytest.approx(1, abs=0.02)


def test_all_samples_are_measured_at_the_same_times_and_noises():
    rows = denoising.measuring_rows(codes(4), 3, 2, generator())
    assert rows.shape == (4, 6, 7)
    assert torch.equal(rows[0, :, 3:], rows[3, :, 3:])
    angles = denoising.schedule()
    assert rows[0, :, -1].tolist() == angles[[0, 0, 50, 50, 99, 99]].tolist()
    assert torch.equal(rows[2, 4, :3], codes(4)[2])


# --- network -------------------------------------------------------------------------------------


def residual_by_loops(theta, row):
    """The network's residual for one row, unit by unit."""
    parameters = NETWORK.layout.unflatten(theta)
    x, e, angle = row[:3].tolist(), row[3:6].tolist(), float(row[6])
    x_t = [math.cos(angle) * a + math.sin(angle) * b for a, b in zip(x, e)]
    values = x_t + [f(2 * k * angle) for f in (math.cos, math.sin) for k in (1, 2, 3, 4)]
    for name in ("hidden.0", "hidden.1", "last"):
        weight, bias = parameters[f"{name}.weight"].tolist(), parameters[f"{name}.bias"].tolist()
        values = [sum(w * v for w, v in zip(line, values)) + b for line, b in zip(weight, bias)]
        if name != "last":
            values = [v / (1 + math.exp(-v)) for v in values]  # SiLU
    return [math.sin(angle) * a + math.cos(angle) * v - b for a, v, b in zip(x_t, values, e)]


def test_network_and_loss_equal_a_loop():
    t = task()
    wanted = [residual_by_loops(THETA, row) for row in t.train_x]
    residual = NETWORK(THETA, t.train_x)
    torch.testing.assert_close(
        residual, torch.tensor(wanted, dtype=torch.float64), rtol=1e-10, atol=1e-12
    )
    loss = [sum(r * r for r in row) / 3 for row in wanted]
    torch.testing.assert_close(
        t.per_example_loss(residual, t.train_y),
        torch.tensor(loss, dtype=torch.float64),
        rtol=1e-10,
        atol=0,
    )


def test_predicted_noise_depends_on_the_noisy_code_alone():
    row = task().train_x[0]
    x, e, angle = row[:3], row[3:6], row[6]
    x_t = denoising.noisy(x, e, angle)
    by_row = NETWORK(THETA, row[None])[0] + e
    torch.testing.assert_close(
        denoising.predicted_noise(NETWORK, THETA, x_t[None], angle)[0], by_row
    )


def test_measure_is_the_mean_over_the_rows_of_a_sample():
    t = task()
    found = denoising.sample_loss(6)(NETWORK, THETA, t)
    for sample in range(3):
        total = 0.0
        for row in t.query_x[6 * sample : 6 * sample + 6]:
            total += sum(r * r for r in residual_by_loops(THETA, row)) / 3
        assert float(found[sample]) == pytest.approx(total / 6, rel=1e-10)


# --- sampler -------------------------------------------------------------------------------------


def test_a_step_has_mean_and_variance_of_ho_et_al():
    share = denoising.schedule(20).cos().square().tolist()
    x_t, e, zero = codes(2, seed=1), codes(2, seed=2) * 0.1, torch.zeros(2, 3).double()
    for t in (1, 7, 19):
        now, before = share[t], share[t - 1]
        beta = 1 - now / before
        x_0 = ((x_t - math.sqrt(1 - now) * e) / math.sqrt(now)).clamp(-4, 4)
        mean = math.sqrt(before) * beta / (1 - now) * x_0
        mean = mean + math.sqrt(1 - beta) * (1 - before) / (1 - now) * x_t  # equation 7
        angles = denoising.schedule(20)
        found = denoising.denoising_step(x_t, e, zero, angles[t], angles[t - 1])
        torch.testing.assert_close(found, mean)
        spread = denoising.denoising_step(x_t, e, zero + 1, angles[t], angles[t - 1]) - found
        assert float(spread.mean()) == pytest.approx(math.sqrt((1 - before) / (1 - now) * beta))


def test_the_last_step_returns_the_code_that_the_noise_implies():
    angle, x, e = denoising.schedule()[0], codes(2), codes(2, seed=3)
    x_t = denoising.noisy(x, e, angle)
    found = denoising.denoising_step(x_t, e, codes(2, seed=4), angle, torch.zeros(()).double())
    torch.testing.assert_close(found, x)


def test_the_best_denoiser_of_a_normal_law_samples_that_law():
    mean, sd = torch.tensor([0.5, -1.0, 0.0]).double(), torch.tensor([0.3, 0.7, 1.0]).double()

    def best(theta, rows):
        x, e, angle = rows[:, :3], rows[:, 3:6], rows[:, 6:]
        x_t, signal, noise = denoising.noisy(x, e, angle), angle.cos(), angle.sin()
        variance = (signal * sd).square() + noise.square()
        return noise * (x_t - signal * mean) / variance - e  # E[e | x_t], less e

    found = denoising.generate(best, THETA, 20_000, 3, generator())
    torch.testing.assert_close(found.mean(dim=0), mean, rtol=0, atol=0.03)
    # A hundred steps leave a bias of some per cent.
    torch.testing.assert_close(found.std(dim=0), sd, rtol=0, atol=0.025)


def test_the_sampler_takes_every_step_from_the_noisiest_down():
    asked = []

    def watched(theta, rows):
        asked.extend(rows[:, -1].unique().tolist())
        return NETWORK(theta, rows)

    denoising.generate(watched, THETA, 2, 3, generator())
    assert asked == denoising.schedule().flip(0).tolist()


def test_samples_are_those_of_their_generator():
    one = denoising.generate(NETWORK, THETA, 4, 3, generator(1))
    assert torch.equal(one, denoising.generate(NETWORK, THETA, 4, 3, generator(1)))
    assert not torch.equal(one, denoising.generate(NETWORK, THETA, 4, 3, generator(2)))
    assert one.abs().max() <= denoising.CLIP


# --- removal -------------------------------------------------------------------------------------


def losses_without(t, image, n_draws=4):
    design = denoising.design_of_rows(leave_one_out(6, [image]), n_draws)
    recipe = Recipe("adam", lr=1e-2, batch_size=8, epochs=2)
    measures = [denoising.sample_loss(6)]
    return train(t, MODEL, recipe, [3], [4], design.weights[1:].double(), measures)["sample_loss"]


def test_a_removed_image_never_influences_anything():
    t = task()
    changed = t.train_x.clone()
    changed[8:12, :6] = 5.0  # rows of image 2: code and noise
    other = replace(t, train_x=changed)
    assert torch.equal(losses_without(t, 2), losses_without(other, 2))
    assert not torch.equal(losses_without(t, 1), losses_without(other, 1))
