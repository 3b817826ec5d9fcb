import itertools

import numpy as np
import pytest
from scipy import stats

from affwild_omg.scoring import significance
from affwild_omg.scoring.concordance import concordance, pearson

# What videos share, and what each utterance has of its own, of label and
# prediction: covariances.
OF_VIDEOS = np.array([[0.08, 0.05], [0.05, 0.07]])
OF_UTTERANCES = np.array([[0.02, 0.01], [0.01, 0.04]])
MEANS = np.array([0.1, 0.25])
TRUE_CCC = (
    2
    * (0.05 + 0.01)
    / ((0.08 + 0.02) + (0.07 + 0.04) + (MEANS[0] - MEANS[1]) ** 2)
)


def simulate(random, videos, noises=1):
    """Draws labels, `noises` predictions alike, and videos of 4 to 12 rows."""
    clusters = np.repeat(np.arange(videos), random.integers(4, 13, videos))
    rows = len(clusters)

    def draw(covariance, count):
        label = random.normal(0, covariance[0, 0] ** 0.5, (1, count))
        slope = covariance[0, 1] / covariance[0, 0]
        rest = covariance[1, 1] - slope * covariance[0, 1]
        noise = random.normal(0, rest**0.5, (noises, count))
        return np.concatenate([label, slope * label + noise])

    values = draw(OF_VIDEOS, videos)[:, clusters] + draw(OF_UTTERANCES, rows)
    labels, *predictions = values
    return (
        labels + MEANS[0],
        *(values + MEANS[1] for values in predictions),
        clusters,
    )


def rows_of(counts, clusters):
    """Lists the rows of a sample that has each cluster so many times."""
    _, index = np.unique(clusters, return_inverse=True)
    return [
        row
        for cluster, times in enumerate(counts)
        for _ in range(times)
        for row in np.flatnonzero(index == cluster)
    ]


def loop(labels, predictions, clusters, samples, seed):
    videos = len(set(clusters))
    chunks = significance._resamples(videos, samples, seed)
    return np.array(
        [
            concordance(labels[rows], predictions[rows])
            for counts in np.concatenate(list(chunks))
            for rows in [rows_of(counts, clusters)]
        ]
    )


@pytest.mark.parametrize("offset", [0, 1e4])
def test_bootstrap_against_a_loop_over_rows(offset):
    labels, first, second, clusters = simulate(
        np.random.default_rng(0), 9, noises=2
    )
    shuffled = np.random.default_rng(1).permutation(len(labels))
    labels, first, second = (
        values[shuffled] + offset for values in (labels, first, second)
    )
    clusters = [f"video {cluster}" for cluster in clusters[shuffled]]
    one, other = (
        loop(labels, predictions, clusters, samples=150, seed=2)
        for predictions in (first, second)
    )
    interval = significance.bootstrap_interval(
        labels, first, clusters, samples=150, level=0.9, seed=2
    )
    # Doubles near 1e4 know these labels to 1e-12 only.
    exact = 1e-13 if not offset else 1e-10
    assert (interval.low, interval.high) == pytest.approx(
        np.quantile(one, [0.05, 0.95]), abs=exact
    )
    paired = significance.paired_bootstrap(
        labels, first, second, clusters, samples=150, level=0.9, seed=2
    )
    assert paired.difference == pytest.approx(
        concordance(labels, first) - concordance(labels, second)
    )
    assert (paired.low, paired.high) == pytest.approx(
        np.quantile(one - other, [0.05, 0.95]), abs=exact
    )
    sides = np.sum(one <= other), np.sum(one >= other)
    assert paired.p_value == pytest.approx(2 * (1 + min(sides)) / 151)


def test_columns_are_drawn_together_and_averaged():
    labels, first, second, clusters = simulate(
        np.random.default_rng(18), 9, noises=2
    )
    # Another target, and a second run of the first one.
    labels = np.stack([labels, -labels / 2, labels], axis=1)
    first, second = (
        np.stack([x, y, z], axis=1)
        for x, y, z in ((first, second, first**2), (second, first, first))
    )
    one, other = (
        np.mean(
            [
                loop(labels[:, i], predictions[:, i], clusters, 150, 2)
                for i in range(3)
            ],
            axis=0,
        )
        for predictions in (first, second)
    )
    how = {"samples": 150, "level": 0.9, "seed": 2}
    interval = significance.bootstrap_interval(labels, first, clusters, **how)
    assert (interval.low, interval.high) == pytest.approx(
        np.quantile(one, [0.05, 0.95])
    )
    paired = significance.paired_bootstrap(
        labels, first, second, clusters, **how
    )
    assert (paired.low, paired.high) == pytest.approx(
        np.quantile(one - other, [0.05, 0.95])
    )
    differences = [
        np.mean(
            [
                concordance(labels[:, i], x[:, i])
                - concordance(labels[:, i], y[:, i])
                for i in range(3)
            ]
        )
        for size in range(10)
        for swapped in itertools.combinations(range(9), size)
        for swap in [np.isin(clusters, swapped)[:, None]]
        for x, y in [
            (np.where(swap, second, first), np.where(swap, first, second))
        ]
    ]
    assert paired.difference == pytest.approx(differences[0])
    count = np.sum(np.abs(differences) >= abs(differences[0]) - 1e-12)
    p_value = significance.permutation_test(labels, first, second, clusters)
    assert p_value == count / 2**9
    assert 2 < count < 2**9


@pytest.mark.parametrize("offset", [0, 1e4])
def test_interval_of_the_error_against_a_loop_over_rows(offset):
    labels, predictions, clusters = simulate(np.random.default_rng(19), 9)
    predictions = predictions + offset
    chunks = significance._resamples(9, 150, 2)
    errors = [
        np.mean((labels[rows] - predictions[rows]) ** 2)
        for counts in np.concatenate(list(chunks))
        for rows in [rows_of(counts, clusters)]
    ]
    interval = significance.bootstrap_interval(
        labels,
        predictions,
        clusters,
        statistic="mean_squared_error",
        samples=150,
        level=0.9,
        seed=2,
    )
    assert (interval.low, interval.high) == pytest.approx(
        np.quantile(errors, [0.05, 0.95]), rel=1e-12
    )


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [
        ([0.1, 0.1, 0.7, 0.7, 0.3, 0.5], [0.1, 0.1, 0.2, 0.2, 0.6, 0.5]),
        ([0.1, 0.1, 0.7, 0.7, 0.7, 0.7], [0.1, 0.1, 0.7, 0.7, 0.2, 0.1]),
        ([0.1, 0.2, 0.4, 0.1, 0.2, 0.4], [0.1] * 6),
        ([0.1] * 6, [0.1] * 6),
        # What rounding leaves of the variance of "aaa" must not be divided.
        ([0.1] * 3 + [0.2, 0.9, 0.5, 0.45], [0.1] * 3 + [0.1, 0.3, 0.8, 0.2]),
    ],
)
def test_samples_without_variance_count_0_like_the_ccc(labels, predictions):
    labels, predictions = np.array(labels), np.array(predictions)
    clusters = np.array(list("aaabbcc"[-len(labels) :]))
    values = loop(labels, predictions, clusters, samples=300, seed=0)
    assert np.any(values == 0)
    for level in (0.5, 0.9, 0.9999):
        interval = significance.bootstrap_interval(
            labels, predictions, clusters, samples=300, level=level
        )
        assert (interval.low, interval.high) == pytest.approx(
            np.quantile(values, [(1 - level) / 2, (1 + level) / 2]), abs=1e-12
        )


def test_memory_is_bounded_without_a_trace(monkeypatch):
    labels, first, second, clusters = simulate(
        np.random.default_rng(3), 30, noises=2
    )

    def answers():
        return (
            significance.bootstrap_interval(labels, first, clusters),
            significance.paired_bootstrap(labels, first, second, clusters),
            significance.permutation_test(labels, first, second, clusters),
        )

    whole = answers()
    monkeypatch.setattr(significance, "CHUNK", 30 * 7)
    interval, paired, p_value = answers()
    assert interval.low == pytest.approx(whole[0].low, abs=1e-14)
    assert paired.p_value == whole[1].p_value
    assert p_value == whole[2]


def test_coverage_needs_whole_videos():
    random = np.random.default_rng(4)
    trials, clustered, unclustered = 200, 0, 0
    for trial in range(trials):
        labels, predictions, clusters = simulate(random, 50)
        one = significance.bootstrap_interval(
            labels, predictions, clusters, samples=400, seed=trial
        )
        other = significance.bootstrap_interval(
            labels,
            predictions,
            np.arange(len(labels)),
            samples=400,
            seed=trial,
        )
        clustered += one.low <= TRUE_CCC <= one.high
        unclustered += other.low <= TRUE_CCC <= other.high
    assert 0.88 <= clustered / trials <= 0.99
    assert unclustered / trials < 0.75


def test_the_simulations_ccc_is_what_it_is_said_to_be():
    labels, predictions, _ = simulate(np.random.default_rng(5), 100_000)
    assert concordance(labels, predictions) == pytest.approx(
        TRUE_CCC, abs=0.005
    )


def test_a_run_does_not_differ_from_itself():
    labels, predictions, clusters = simulate(np.random.default_rng(6), 20)
    paired = significance.paired_bootstrap(
        labels, predictions, predictions.copy(), clusters
    )
    assert paired == significance.Paired(difference=0, low=0, high=0, p_value=1)
    p_value = significance.permutation_test(
        labels, predictions, predictions.copy(), clusters
    )
    assert p_value == 1


def test_a_clearly_better_run_is_found():
    labels, poor, clusters = simulate(np.random.default_rng(7), 60)
    good = labels + 0.3 * (poor - labels)
    for first, second, sign in ((good, poor, 1), (poor, good, -1)):
        paired = significance.paired_bootstrap(labels, first, second, clusters)
        assert paired.p_value == 2 / 2001
        assert sign * paired.difference > 0.2
        assert sign * paired.low > 0
        assert sign * paired.high > 0
        assert paired.low < paired.difference < paired.high
        p_value = significance.permutation_test(labels, first, second, clusters)
        assert p_value == 1 / 2001


def test_p_values_are_uniform_where_runs_do_not_differ():
    random = np.random.default_rng(9)
    trials = 600
    bootstrap, permutation = [], []
    for trial in range(trials):
        runs = simulate(random, 100, noises=2)
        paired = significance.paired_bootstrap(*runs, samples=400, seed=trial)
        bootstrap.append(paired.p_value)
        permutation.append(
            significance.permutation_test(*runs, samples=400, seed=trial)
        )
    for level in (0.05, 0.2, 0.5):
        fewest, most = stats.binom.interval(0.999, trials, level)
        for p_values in (bootstrap, permutation):
            count = np.sum(np.array(p_values) <= level)
            assert fewest <= count <= most


@pytest.mark.parametrize(
    ("seed", "better", "sixteenths"),
    [(10, 0.4, 2), (15, 0.2, 8), (9, 0.4, 10), (13, 0, 16)],
)
def test_permutation_of_four_videos_by_hand(seed, better, sixteenths):
    labels, first, second, clusters = simulate(
        np.random.default_rng(seed), 4, noises=2
    )
    second += better * (labels - second)

    def difference(swapped):
        swap = np.isin(clusters, swapped)
        one = np.where(swap, second, first)
        other = np.where(swap, first, second)
        return abs(concordance(labels, one) - concordance(labels, other))

    differences = [
        difference(swapped)
        for size in range(5)
        for swapped in itertools.combinations(range(4), size)
    ]
    assert len(differences) == 16
    # Of two equal differences, one is rounded otherwise than the other.
    count = np.sum(np.array(differences) >= differences[0] - 1e-12)
    assert count == sixteenths
    p_value = significance.permutation_test(
        labels, first, second, clusters, samples=16
    )
    assert p_value == sixteenths / 16


def test_permutation_by_chance_agrees_with_all():
    labels, first, second, clusters = simulate(
        np.random.default_rng(15), 12, noises=2
    )
    second += 0.4 * (labels - second)
    whole, drawn = (
        significance.permutation_test(
            labels, first, second, clusters, samples=samples
        )
        for samples in (2**12, 2**12 - 1)
    )
    assert 0.01 < whole < 0.1
    assert drawn != whole
    assert drawn == pytest.approx(whole, abs=4 * (whole / 2**12) ** 0.5)
    few = significance.permutation_test(
        labels, labels, second, clusters, samples=9
    )
    assert few == 1 / 10  # never 0


def test_tests_of_three_runs_by_hand():
    labels, *runs, clusters = simulate(np.random.default_rng(31), 5, noises=3)
    runs[1] = labels + 0.5 * (runs[1] - labels)

    def p_values(first, second):
        differences = []
        for size in range(6):
            for swapped in itertools.combinations(range(5), size):
                swap = np.isin(clusters, swapped)
                one, other = (
                    np.where(swap, x, y)
                    for x, y in ((second, first), (first, second))
                )
                differences.append(
                    abs(concordance(labels, one) - concordance(labels, other))
                )
        return [
            np.mean(np.array(differences) >= x - 1e-12) for x in differences
        ]

    by_pair = {
        pair: p_values(runs[pair[0]], runs[pair[1]])
        for pair in ((0, 1), (0, 2), (1, 2))
    }
    # Of each set of swapped videos, no swap first.
    least = [min(values) for values in zip(*by_pair.values(), strict=True)]
    expected = [
        np.mean([x <= by_pair[pair][0] for x in least])
        for pair in ((0, 1), (1, 2))
    ]
    found = significance.permutation_tests(
        labels, runs, clusters, reference=1, samples=32
    )
    assert found == pytest.approx([expected[0], 1, expected[1]])
    assert by_pair[0, 1][0] < found[0] < 1


@pytest.mark.parametrize("videos", [6, 30])
def test_tests_of_two_runs_are_the_permutation_test(videos):
    labels, *runs, clusters = simulate(
        np.random.default_rng(27), videos, noises=4
    )
    labels = np.stack([labels, -labels], axis=1)
    first = np.stack([runs[0], -runs[1]], axis=1)
    second = np.stack([runs[2], -runs[3]], axis=1)
    second += 0.1 * (labels - second)
    one, p_value = significance.permutation_tests(
        labels, [first, second], clusters
    )
    expected = significance.permutation_test(labels, first, second, clusters)
    assert 0.005 < expected < 0.9
    assert (one, p_value) == (1, pytest.approx(expected, abs=1e-12))


def test_the_best_of_many_equal_runs_is_seldom_called_better():
    random = np.random.default_rng(22)
    trials, together, alone = 150, 0, 0
    for trial in range(trials):
        labels, *runs, clusters = simulate(random, 30, noises=5)
        best = int(
            np.argmax(
                [concordance(labels, predictions) for predictions in runs]
            )
        )
        how = {"samples": 400, "seed": trial}
        together += 0.05 > min(
            significance.permutation_tests(
                labels, runs, clusters, reference=best, **how
            )
        )
        alone += 0.05 > min(
            significance.permutation_test(
                labels, runs[best], run, clusters, **how
            )
            for run in runs
        )
    _, most = stats.binom.interval(0.999, trials, 0.05)
    assert together <= most < alone


def test_a_hopeless_run_hides_no_difference():
    labels, poor, clusters = simulate(np.random.default_rng(7), 60)
    good = labels + 0.3 * (poor - labels)
    p_values = significance.permutation_tests(
        labels, [good, poor, -poor], clusters
    )
    assert max(p_values[1:]) <= 3 / 2001


def test_one_run_is_compared_with_none():
    with pytest.raises(ValueError, match="1 run.* can't be compared"):
        significance.permutation_tests([1, 2], [[1, 2]], "ab")


@pytest.mark.parametrize("count", [3, 4, 20, 2229])
@pytest.mark.parametrize("slope", [-0.6, 0, 0.05, 0.3, 1])
def test_pearson_p_value_against_scipy(count, slope):
    x, y = np.random.default_rng(11).normal(size=(2, count))
    y = slope * x + y
    expected = stats.pearsonr(x, y).pvalue
    value = significance.pearson_p_value(pearson(x, y), count)
    assert value == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_pearson_p_value_at_the_ends():
    assert significance.pearson_p_value(0, 9) == 1
    assert significance.pearson_p_value(1 + 1e-15, 9) == 0
    for r, count in ((1.1, 9), (np.nan, 9), (0.5, 2)):
        with pytest.raises(ValueError, match="r must|3 are needed"):
            significance.pearson_p_value(r, count)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"clusters": list("aaaa")}, "one video alone"),
        ({"clusters": list("aab")}, "clusters must be one for each"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"level": 1}, "level must be between"),
        ({"labels": [1, 2, 3, np.nan]}, "finite"),
        ({"labels": [[[1]]] * 4, "first": [[[1]]] * 4}, r"\[utterances\] or"),
        ({"first": [1, 2, 3]}, "one length"),
        ({"second": [1, 2, 3, np.inf]}, "finite"),
        (
            {"labels": [1], "first": [1], "second": [1], "clusters": ["a"]},
            "one video alone",
        ),
    ],
)
def test_what_has_no_answer_is_refused(changed, message):
    given = {
        "labels": [1, 2, 3, 4],
        "first": [1, 3, 2, 4],
        "second": [1, 2, 4, 4],
        "clusters": list("aabb"),
        "samples": 10,
    } | changed
    with pytest.raises(ValueError, match=message):
        significance.paired_bootstrap(**given)
    if "level" not in given:
        with pytest.raises(ValueError, match=message):
            significance.permutation_test(**given)
    if "second" not in changed or "first" in changed:
        del given["second"]
        given["predictions"] = given.pop("first")
        with pytest.raises(ValueError, match=message):
            significance.bootstrap_interval(**given)


def test_an_unknown_statistic_is_refused():
    with pytest.raises(ValueError, match="concordance or mean_squared_error"):
        significance.bootstrap_interval([1, 2], [1, 2], "ab", statistic="r")


def test_mean_interval_by_hand():
    # Two videos, 0.2 and 0.6: of four equally likely samples one has the
    # first twice, two have both, one has the second twice.
    for level, expected in ((0.6, (0.2, 0.6)), (0.4, (0.4, 0.4))):
        interval = significance.bootstrap_mean_interval(
            [0.6, 0.2], level=level, seed=3
        )
        assert (interval.low, interval.high) == pytest.approx(expected)
    interval = significance.bootstrap_mean_interval([0.3] * 9)
    assert (interval.low, interval.high) == pytest.approx((0.3, 0.3))


def test_mean_interval_against_rows_and_a_normal_mean():
    values = np.random.default_rng(12).normal(0.3, 0.2, 60)
    interval = significance.bootstrap_mean_interval(
        values, samples=20_000, level=0.9
    )
    drawn = np.random.default_rng(1).choice(values, (20_000, 60)).mean(axis=1)
    assert (interval.low, interval.high) == pytest.approx(
        np.quantile(drawn, [0.05, 0.95]), abs=2e-3
    )
    half = stats.norm.ppf(0.95) * values.std() / 60**0.5
    assert (interval.low, interval.high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=4e-3
    )


def test_mean_interval_is_reproducible_and_bounded_in_memory(monkeypatch):
    values = np.random.default_rng(13).uniform(-1, 1, 30)
    whole = significance.bootstrap_mean_interval(values, seed=5)
    assert significance.bootstrap_mean_interval(values, seed=5) == whole
    assert significance.bootstrap_mean_interval(values, seed=6) != whole
    monkeypatch.setattr(significance, "CHUNK", 30 * 7)
    parts = significance.bootstrap_mean_interval(values, seed=5)
    assert parts.low == pytest.approx(whole.low, abs=1e-14)
    assert parts.high == pytest.approx(whole.high, abs=1e-14)


def test_coverage_of_the_mean_over_videos():
    # CCCs of videos, skewed as they are: of mean 5 / 7 * 1.5 - 0.5.
    random = np.random.default_rng(14)
    trials, level = 400, 0.9
    held = 0
    for trial in range(trials):
        interval = significance.bootstrap_mean_interval(
            1.5 * random.beta(5, 2, 50) - 0.5,
            samples=400,
            level=level,
            seed=trial,
        )
        held += interval.low <= 5 / 7 * 1.5 - 0.5 <= interval.high
    assert 0.84 <= held / trials <= 0.95


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"values": []}, "at least 2 and finite, not \\(0,\\)"),
        ({"values": [0.5]}, "at least 2 and finite, not \\(1,\\)"),
        ({"values": [[0.5, 0.1]]}, "must be \\[videos\\]"),
        ({"values": [0.5, np.nan]}, "with 1 that are not finite"),
        ({"samples": 0}, "samples must be at least 1"),
        ({"level": 0}, "level must be between"),
    ],
)
def test_a_mean_that_has_no_interval_is_refused(changed, message):
    given = {"values": [0.1, 0.2], "samples": 10} | changed
    with pytest.raises(ValueError, match=message):
        significance.bootstrap_mean_interval(**given)


def test_an_interval_is_found_where_it_is_an_estimate():
    labels, predictions = [0.1, 0.4, 0.2, 0.9], [0.2, 0.3, 0.5, 0.8]
    videos, constant = ["a", "a", "b", "b"], [0.5] * 4
    find = significance.find_interval
    same = significance.bootstrap_interval(
        labels, predictions, videos, samples=50, level=0.8, seed=3
    )
    assert same == find(
        labels, predictions, videos, samples=50, level=0.8, seed=3
    )
    assert find(labels, predictions, ["a"] * 4) is None
    assert find(labels, constant, videos) is None
    assert find(constant, predictions, videos) is None
    # An error is an error, of constants too.
    of_errors = find(
        constant, predictions, videos, statistic="mean_squared_error"
    )
    assert 0 < of_errors.low < of_errors.high
