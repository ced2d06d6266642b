"""The fitted surrogate: values by hand, a plain twin, files, and a fit that recovers a law and can fail."""

import json
import math
from collections import Counter

import numpy as np
import pytest
import torch
from fitted_cases import DATA_SEED, N_FEATURES, N_WORKERS, Spoiled, true_problem, truth
from icl_cases import softmax, tiny_task
from scipy.stats import spearmanr
from text_cases import TOPICS, tiny_text_task

from fedsim.errors import InputError
from fedsim.icl.encoders import WordLlama
from fedsim.icl.models.base import Prompts
from fedsim.icl.models.fitted import Fitted
from fedsim.icl.models.fitted.arithmetic import FittedScorer, errors_of, logits, rows_used
from fedsim.icl.models.fitted.parameters import address, read, write
from fedsim.icl.tasks.base import Text
from fedsim.problems.icl.problem import IclProblem
from fedsim.streams import Streams
from fedsim_analysis.fitting.answers import Asked, gathered, query_rows
from fedsim_analysis.fitting.estimation import Ridges, estimate, principal_components
from fedsim_analysis.fitting.surrogate import FIT_SEED, extremes, fit, random_prompts

pytest.importorskip("wordllama")


@pytest.fixture(autouse=True)
def _one_thread():
    """Compute as runs do: on a busy machine several threads cost these small tensors far more than one."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def tensor(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def test_scores_by_hand():
    base = tensor([0, 0], [1, 0])
    demonstration = tensor([1, 1])  # the feature 1 and the constant
    errors = errors_of(base, demonstration, torch.tensor([1]))
    # W0 scores it 0 and 1, so that label 1 has 1 / (1 + e^-1) = 0.731059 before it is shown
    assert errors.tolist() == [pytest.approx([-0.268941, 0.268941], abs=1e-6)]
    found = logits(
        base, torch.tensor(0.5), tensor([2, 1]), tensor([0.1, 0]), demonstration, errors, tensor(0, 0.2, 0.5)
    )
    # base 0 and 2, own 0.1 and 0: 0.1 and 2, which a gain of 0.5 makes 0.15 and 3; shift 0 and 0.2; step
    # 0.5 * (2 * 1 + 1 * 1) * error = -+0.403412
    assert found.tolist() == [pytest.approx([0.15 - 0.403412, 3.2 + 0.403412], abs=1e-6)]
    bare = logits(base, torch.tensor(0.5), tensor([2, 1]), tensor([0.1, 0]), None, None, tensor(0, 0.2, 0))
    assert bare.tolist() == [pytest.approx([0.1, 2.2])]


def plain_scores(parameters, data, worker, words, shown, text):
    """Return the label probabilities of one query under one prompt, number by number."""

    def point(of):
        vector = WordLlama().encode([of.joined()])[0] - np.array(parameters.centre)
        return [*(vector @ np.array(parameters.projection)).tolist(), 1.0]

    def apply(of):
        return [sum(a * b for a, b in zip(row, of, strict=True)) for row in parameters.base]

    x = point(text)
    own = [a + b for a, b in zip(apply(x), parameters.queries[address(text)], strict=True)]
    added, gain = [0.0] * len(own), 0.0
    for slot, k in enumerate(shown or []):
        demonstration = data.source.rows[data.demonstrations.x[worker, slot, k]]
        label = data.demonstrations.y[worker, slot, k]
        before = softmax(apply(point(demonstration)))
        near = sum(a * b for a, b in zip(point(demonstration), x, strict=True))
        effect = parameters.demonstrations[address(demonstration)]
        gain += parameters.gains[address(demonstration)]
        for u in range(len(own)):
            added[u] += parameters.step * ((u == label) - before[u]) * near + effect[u]
    reading = parameters.fragment
    for word, count in Counter(words or []).items():
        name = address(data.source.words[word])
        amount = count**reading.repeat_exponent / len(words) ** reading.length_exponent
        gain += amount * parameters.gains[name]
        added = [score + amount * some for score, some in zip(added, parameters.words[name], strict=True)]
    scores = [(1 + gain) * mine + more for mine, more in zip(own, added, strict=True)]
    return softmax(scores)


@pytest.mark.parametrize(
    ("parts", "split", "n_classes"),
    [
        *((parts, "train", 2) for parts in ("both", "words", "demonstrations", "neither")),
        ("both", "validation", 2),
        ("neither", "test", 2),
        *(("both", split, 4) for split in ("train", "validation", "test")),
    ],
)
def test_scores_equal_a_plain_twin(tmp_path, parts, split, n_classes):
    problem, data = true_problem(tmp_path, n_classes)
    data.demonstrations.y[1, 0, 2] = 1  # somebody flipped a label
    workers = torch.tensor([2, 1])
    words = torch.tensor([[[0, 1, 4], [3, 3, 2]], [[1, 1, 1], [0, 2, 4]]])
    shown = torch.tensor([[[0, 1, 2], [2, 1, 0]], [[2, 2, 0], [1, 0, 2]]]).repeat(1, n_classes // 2, 1)
    words = words if parts in ("both", "words") else None
    shown = shown if parts in ("both", "demonstrations") else None
    queries = torch.tensor([[1, 0], [0, 0]])
    prompts = Prompts(workers, words, shown, split, queries)
    found = problem.model.attach(data).scores(prompts)
    x, parameters = getattr(data, split).x, truth(data)
    assert found.shape == (2, 1 if parts == "neither" else 3, n_classes, 2)
    for j, worker in enumerate(workers.tolist()):
        for i in range(found.shape[1]):
            for b in range(2):
                text = data.source.rows[x[0 if split == "test" else worker, queries[j, b]]]
                twin = plain_scores(
                    parameters,
                    data,
                    worker,
                    None if words is None else words[j, :, i].tolist(),
                    None if shown is None else shown[j, :, i].tolist(),
                    text,
                )
                assert found[j, i, :, b].tolist() == pytest.approx(twin, abs=1e-9)
    everything = problem.model.attach(data).scores(prompts._replace(queries=None))
    assert everything.expand(2, -1, -1, -1)[0, :, :, 1].tolist() == found[0, :, :, 0].tolist()


def test_what_the_fit_never_saw_has_no_effect(tmp_path):
    _, data = true_problem(tmp_path)
    known = FittedScorer(truth(data), data)
    bare = truth(data, queries={}, demonstrations={}, words={}, gains={})
    unknown = FittedScorer(bare, data)
    prompts = Prompts(torch.tensor([0]), torch.tensor([[[0], [1]]]), None, "train", None)
    without = Prompts(torch.tensor([0]), None, None, "train", None)
    assert torch.equal(unknown.scores(prompts), unknown.scores(without))
    assert not torch.equal(known.scores(prompts), known.scores(without))


def test_the_file_holds_no_text_and_comes_back_as_it_was(tmp_path):
    _, data = true_problem(tmp_path)
    file = tmp_path / "truth.json"
    assert read(file) == truth(data)
    content = file.read_text()
    for word in [*data.source.words, *TOPICS]:
        assert f'"{word}"' not in content
        assert word not in content or len(word) < 6
    assert len(json.loads(content)["words"]) == 5


def test_the_part_knows_its_file(tmp_path):
    problem, data = true_problem(tmp_path)
    model = problem.model
    assert len(model.sha256) == 64
    assert Fitted.model_validate(model.model_dump()) == model
    file = tmp_path / "truth.json"
    write(truth(data, step=0.25), file)
    with pytest.raises(InputError, match="has changed since"):
        model.attach(data)
    with pytest.raises(ValueError, match="has changed since"):
        Fitted.model_validate(model.model_dump())
    assert Fitted(file=str(file)).sha256 != model.sha256


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("{", "not a file of fitted parameters: not JSON"),
        ('{"labels": ["a", "b"]}', "not a file of fitted parameters: centre: Field required"),
        (None, "cannot be read|No such file"),
    ],
)
def test_a_bad_file_is_refused_when_the_scenario_is_loaded(tmp_path, content, sentence):
    file = tmp_path / "parameters.json"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ValueError, match=sentence):
        Fitted(file=str(file))


@pytest.mark.parametrize(
    "change",
    [
        {"base": ((0.0,) * 4,)},
        {"base": ((0.0,) * 3, (0.0,) * 4)},
        {"centre": (0.0,)},
        {"words": {"00": (1.0,)}},
        {"labels": ("Great",)},
    ],
)
def test_sizes_that_do_not_fit_are_refused(tmp_path, change):
    _, data = true_problem(tmp_path)
    with pytest.raises(ValueError, match="do not fit together"):
        truth(data, **change)


def test_other_labels_are_refused(tmp_path):
    _, data = true_problem(tmp_path)
    with pytest.raises(InputError, match="knows the labels Bad, Good, but the prompt has Terrible, Great"):
        FittedScorer(truth(data, labels=("Bad", "Good")), data)


def test_it_reads_text_only(tmp_path):
    problem, _ = true_problem(tmp_path)
    with pytest.raises(ValueError, match="reads text"):
        IclProblem(task=tiny_task(), model=problem.model)
    with pytest.raises(InputError, match="needs a task of texts"):
        fit(IclProblem(task=tiny_task()), 0, 1)
    with pytest.raises(InputError, match="at least 5 prompts, got 4"):
        fit(problem, 0, 1, n_prompts=4)


def test_principal_components_by_hand():
    # Around the mean (1, 2) all variance lies along the first axis: -2, 0, 2 with mean square 8 / 3
    embeddings = tensor([-1, 2], [1, 2], [3, 2])
    centre, projection = principal_components(embeddings, 1)
    assert centre.tolist() == [1, 2]
    assert abs(projection[:, 0]).tolist() == pytest.approx([math.sqrt(3 / 8), 0])


def test_random_prompts_stay_in_range_and_share_queries_when_asked(tmp_path):
    problem, data = true_problem(tmp_path)
    train, test = random_prompts(problem, data, Streams(1), 0, 200, 3, shared=True)
    assert train.words.shape == (200, 2, 1)
    assert set(train.words.unique().tolist()) == set(range(5))
    assert set(train.demonstrations.unique().tolist()) == set(range(3))
    assert torch.equal(train.words, test.words)
    assert torch.equal(train.demonstrations, test.demonstrations)
    for worker in range(N_WORKERS):
        rows = train.queries[train.workers == worker]
        assert (rows == rows[0]).all()
        assert len(set(rows[0].tolist())) == 3
    assert (test.queries == test.queries[0]).all()
    own, _ = random_prompts(problem, data, Streams(1), 0, 200, 3)
    assert len({tuple(row) for row in own.queries.tolist()}) > 10
    other, _ = random_prompts(problem, data, Streams(1), 1, 200, 3)
    assert not torch.equal(own.words, other.words)
    bare = problem.model_copy(update={"use_fragment": False, "use_demonstrations": False})
    alone, _ = random_prompts(bare, data, Streams(1), 0, 200, 3)
    assert (alone.words, alone.demonstrations) == (None, None)
    assert torch.equal(alone.queries, own.queries)


def test_spread_words_are_few_and_repeated(tmp_path):
    problem, data = true_problem(tmp_path)
    uniform, few = (
        random_prompts(problem, data, Streams(1), 0, 400, 3, spread=spread)[0].words[:, :, 0]
        for spread in (None, 0.3)
    )
    repeated = [(words[:, 0] == words[:, 1]).double().mean().item() for words in (uniform, few)]
    # Two draws from a Dirichlet of 5 words with 0.3 each are equal with (1 + 0.3) / (1 + 5 * 0.3) = 0.52.
    standard_error = 0.5 / 20
    assert repeated == pytest.approx([0.2, 0.52], abs=4 * standard_error)
    assert set(few.unique().tolist()) == set(range(5))


def test_extremes_count_from_the_mean_of_their_worker_by_hand():
    # From the means 2 and 11: -1, 1, 0 and 2, -2, 0.
    losses, workers = tensor(1, 3, 2, 13, 9, 11)[:, None].flatten(), torch.tensor([0, 0, 0, 1, 1, 1])
    assert extremes(losses, workers, 3).tolist() == [4, 0, 3]
    assert extremes(losses, workers, 2).tolist() == [4, 3]


def test_a_single_query_is_fitted_as_by_hand(tmp_path):
    """Without words or demonstrations and with a huge ridge only the bias is left: the mean log-odds."""
    task = tiny_text_task(tmp_path)
    data = task.draw(Streams(DATA_SEED), N_WORKERS)
    queries = torch.tensor([[0], [1], [2], [3]])
    prompts = Prompts(torch.tensor([0, 0, 0, 0]), None, None, "train", queries)
    answers = tensor([0.2, 0.8], [0.4, 0.6], [0.2, 0.8], [0.4, 0.6])[:, :, None]
    huge = Ridges(1e4, 1e4, 1e4, 1e4, 1e4)
    found = estimate([Asked(prompts, answers)], data, WordLlama(), N_FEATURES, huge)
    # cross entropy is least where the predicted mean is the mean answer: 0.7
    bias = [row[-1] for row in found.base]
    assert bias[1] - bias[0] == pytest.approx(math.log(0.7 / 0.3), abs=1e-3)
    assert len(found.queries) == 4
    assert (found.demonstrations, found.words) == ({}, {})
    assert found.fitted_to == {"ridges": huge._asdict()}
    # and without any ridge to speak of, each answer is met exactly
    free = estimate([Asked(prompts, answers)], data, WordLlama(), N_FEATURES, huge._replace(queries=1e-9))
    assert FittedScorer(free, data).scores(prompts)[:, 0].numpy() == pytest.approx(answers.numpy(), abs=1e-3)


def test_equal_texts_are_one_text(tmp_path):
    """Two rows may hold the same text: its answers are fitted together."""
    _, data = true_problem(tmp_path)
    used = rows_used(data)
    texts = [data.source.rows[row] for row in used]
    x = data.train.x[0]
    texts[int(np.searchsorted(used, x[1]))] = texts[int(np.searchsorted(used, x[0]))]
    prompts = Prompts(torch.tensor([0]), None, None, "train", torch.tensor([[0, 1, 2]]))
    answers = Asked(prompts, torch.full((1, 2, 3), 0.5, dtype=torch.float64))
    first, second, third = gathered([answers], data, used, texts).queries[0].tolist()
    assert first == second != third


def spearman(held, predictor="fitted"):
    """Return the rank correlation of all log-odds."""
    odds = [
        (answers[:, 1].log() - answers[:, 0].log()).flatten().numpy()
        for answers in (held.real, held.predicted[predictor])
    ]
    return spearmanr(*odds).statistic


SIZES = {"n_prompts": 120, "held_out": 60, "n_queries": 3, "n_features": N_FEATURES}


def test_a_fit_to_answers_of_its_own_form_recovers_them(tmp_path):
    problem, data = true_problem(tmp_path)
    found = fit(problem, DATA_SEED, N_WORKERS, **SIZES)
    assert [held.split for held in found.held_out] == ["train", "test"]
    for held in found.held_out:
        assert spearman(held) > 0.98
        # in words alone or queries alone there is much less to be had
        assert spearman(held, "query_mean") < 0.85
        assert spearman(held, "zero_shot") < 0.85
        assert held.predicted["constant"].std(dim=(0, 2)).max() < 1e-12
        assert held.predicted["fitted"].sum(1).numpy() == pytest.approx(1)
    # where answers are exact, cross-validation takes small ridges
    assert min(found.parameters.fitted_to["ridges"].values()) <= 0.1
    assert found.parameters.fitted_to["prompts"] == 120
    assert found.parameters.fitted_to["of_the_second_round"] == 48
    assert found.parameters.fitted_to["queries_a_prompt"] == 6
    assert_means_by_query(found.held_out[0], problem, data)


def assert_means_by_query(held, problem, data):
    """Check one prediction and one label against the prompts as they were drawn."""
    # of 120 prompts, four tenths are those of the second round
    seen, _ = random_prompts(problem, data, Streams(FIT_SEED), 0, 72, 3)
    unseen, _ = random_prompts(problem, data, Streams(FIT_SEED), 1, 60, 3, shared=True)
    answers = problem.model.attach(data).scores(seen)[:, 0].transpose(1, 2)
    about_it = torch.from_numpy(query_rows(seen, data) == query_rows(unseen, data)[0, 1])
    assert held.predicted["query_mean"][0, :, 1].tolist() == pytest.approx(answers[about_it].mean(0).tolist())
    assert held.labels[0, 1] == data.train.y[unseen.workers[0], unseen.queries[0, 1]]


@pytest.mark.parametrize("n_classes", [2, 4])
def test_a_fit_depends_on_nothing_but_its_arguments(tmp_path, n_classes):
    problem, _ = true_problem(tmp_path, n_classes)
    sizes = {"n_prompts": 10, "held_out": 2, "n_queries": 1, "n_features": 1}
    found = [
        fit(problem, DATA_SEED, N_WORKERS, **sizes, seed=seed, ridges=Ridges()).parameters
        for seed in (1, 1, 2)
    ]
    assert found[0] == found[1]
    assert found[0] != found[2]


def test_noise_costs_agreement_but_a_fit_still_beats_trivial_predictors(tmp_path):
    problem, _ = true_problem(tmp_path)
    noisy = problem.model_copy(update={"model": Spoiled(inner=problem.model, noise=0.5)})
    train, test = fit(noisy, DATA_SEED, N_WORKERS, **SIZES, ridges=Ridges()).held_out
    for held in (train, test):
        assert spearman(held, "query_mean") + 0.1 < spearman(held) < 0.95


def test_a_fit_to_shuffled_answers_finds_nothing(tmp_path):
    problem, _ = true_problem(tmp_path)
    shuffled = problem.model_copy(update={"model": Spoiled(inner=problem.model, shuffled=True)})
    for held in fit(shuffled, DATA_SEED, N_WORKERS, **SIZES, ridges=Ridges()).held_out:
        # 180 answers, dealt out at random: standard error 1 / sqrt(179) = 0.075
        assert abs(spearman(held)) < 4 * 0.075


def test_addresses_tell_words_from_texts():
    assert address("good") != address(Text("good"))
    assert address(Text("good", "film")) != address(Text("good film"))
    assert len(address("good")) == 16
    assert Text("good", "", "context").joined() == "good context"


def test_an_unknown_key_in_the_file_is_an_error(tmp_path):
    true_problem(tmp_path)
    file = tmp_path / "truth.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"spare": 1}))
    with pytest.raises(InputError, match="spare: Extra inputs are not permitted"):
        read(file)
