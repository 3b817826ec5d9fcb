import itertools

import numpy as np
import pytest
from scipy import stats

from affwild_omg.scoring import significance
from affwild_omg.scoring.concordance import concordance

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
NAN = float("nan")
HOW = {"samples": 150, "level": 0.9, "seed": 2}


def simulate(seed, videos, noises=1):
    """Draws labels, `noises` predictions alike, and videos of 4 to 12 rows."""
    random = np.random.default_rng(seed)  # which may be a generator, too
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


def by_rows(statistic, clusters, samples, level, seed):
    """Lets SciPy draw videos one sample at a time; statistic: of row numbers.

    Returns:
        The ends of the interval, and the samples' statistics.
    """
    of_videos = [
        np.flatnonzero(np.array(clusters) == name)
        for name in sorted(set(clusters))
    ]
    found = stats.bootstrap(
        (np.arange(len(of_videos)),),
        lambda drawn: statistic(np.concatenate([of_videos[i] for i in drawn])),
        vectorized=False,
        n_resamples=samples,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return tuple(found.confidence_interval), found.bootstrap_distribution


def mean_ccc(labels, predictions):
    """Averages the columns' CCCs of the labelled rows of [rows, columns]."""
    columns = [
        (x[~np.isnan(x)], y[~np.isnan(x)])
        for x, y in zip(labels.T, predictions.T, strict=True)
    ]
    return np.mean([len(x) and concordance(x, y) for x, y in columns])


def swapped_differences(labels, first, second, clusters):
    """Lists |difference of CCC| of all sets of swapped videos, no swap first.

    Labels and predictions are [rows, columns].
    """
    names = sorted(set(clusters))
    differences = []
    for size in range(len(names) + 1):
        for some in itertools.combinations(names, size):
            swap = np.isin(clusters, some)[:, np.newaxis]
            one = np.where(swap, second, first)
            other = np.where(swap, first, second)
            differences.append(
                abs(mean_ccc(labels, one) - mean_ccc(labels, other))
            )
    return np.array(differences)


def check_intervals(labels, first, second, clusters, **tolerance):
    """Compares the intervals of CCC and of its difference with `by_rows`."""
    x, y, z = (
        values.reshape(len(labels), -1) for values in (labels, first, second)
    )

    def ccc(rows):
        return mean_ccc(x[rows], y[rows])

    def difference(rows):
        return ccc(rows) - mean_ccc(x[rows], z[rows])

    given = labels, first, second, clusters
    for statistic, interval in (
        (ccc, significance.interval(labels, first, clusters, **HOW)),
        (difference, significance.paired_interval(*given, **HOW)),
    ):
        expected, _ = by_rows(statistic, clusters, **HOW)
        assert interval == pytest.approx(expected, **tolerance)


# Doubles near 1e4 know these labels to 1e-12 only.
@pytest.mark.parametrize(("offset", "exact"), [(0, 1e-13), (1e4, 1e-10)])
def test_intervals_against_a_loop_over_rows(offset, exact):
    *values, clusters = simulate(0, 9, 2)
    shuffled = np.random.default_rng(1).permutation(len(clusters))
    clusters = [f"video {cluster}" for cluster in clusters[shuffled]]
    values = (column[shuffled] + offset for column in values)
    check_intervals(*values, clusters, abs=exact)


@pytest.mark.parametrize("gaps", [False, True])
def test_columns_are_drawn_together_and_averaged(gaps):
    labels, first, second, clusters = simulate(18, 9, 2)
    # Another target, and a second run of the first one.
    labels = np.stack([labels, -labels / 2, labels], axis=1)
    first, second = (
        np.stack(columns, axis=1)
        for columns in ((first, second, first**2), (second, first, first))
    )
    if gaps:
        labels[np.random.default_rng(0).random(labels.shape) < 0.4] = NAN
        labels[clusters == 4, 0] = NAN
        labels[clusters > 2, 1] = NAN  # some samples have no row of it
        for predictions in (first, second):  # which are not looked at
            predictions[np.isnan(labels)] = NAN
    check_intervals(labels, first, second, clusters)
    differences = swapped_differences(labels, first, second, clusters)
    count = np.sum(differences >= differences[0] - 1e-12)
    p_value = significance.permutation_test(labels, first, second, clusters)
    assert p_value == count / 2**9
    assert 2 < count < 2**9


def test_interval_of_the_error_against_a_loop_over_rows():
    labels, predictions, clusters = simulate(19, 9)
    predictions = predictions + 1e4
    errors = (labels - predictions) ** 2
    expected, _ = by_rows(lambda rows: errors[rows].mean(), clusters, **HOW)
    interval = significance.interval(
        labels, predictions, clusters, statistic="mean_squared_error", **HOW
    )
    assert interval == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("labels", "predictions"),
    [
        ([0.1, 0.1, 0.7, 0.7, 0.7, 0.7], [0.1, 0.1, 0.7, 0.7, 0.2, 0.1]),
        # What rounding leaves of the variance of "aaa" must not be divided.
        ([0.1] * 3 + [0.2, 0.9, 0.5, 0.45], [0.1] * 3 + [0.1, 0.3, 0.8, 0.2]),
    ],
)
def test_samples_without_variance_count_0_like_the_ccc(labels, predictions):
    labels, predictions = np.array(labels), np.array(predictions)
    clusters = np.array(list("aaabbcc"[-len(labels) :]))
    how = {"samples": 300, "level": 0.9999, "seed": 0}
    expected, values = by_rows(
        lambda rows: concordance(labels[rows], predictions[rows]),
        clusters,
        **how,
    )
    assert np.any(values == 0)
    interval = significance.interval(labels, predictions, clusters, **how)
    assert interval == pytest.approx(expected, abs=1e-12)


def test_memory_is_bounded_without_a_trace(monkeypatch):
    labels, first, second, clusters = simulate(3, 30, 2)

    def answers():
        return [
            *significance.interval(labels, first, clusters),
            *significance.paired_interval(labels, first, second, clusters),
            significance.permutation_test(labels, first, second, clusters),
        ]

    whole = answers()
    most = []
    counted = significance._Sums._means

    def count(sums, drawn):
        most.append(drawn.size)
        return counted(sums, drawn)

    monkeypatch.setattr(significance._Sums, "_means", count)
    monkeypatch.setattr(significance, "BATCH", 30 * 7)
    parts = answers()
    assert parts == pytest.approx(whole, abs=1e-13)
    assert max(most) == 30 * 7


def test_draws_follow_the_seed():
    labels, first, second, clusters = simulate(3, 30, 2)
    for function, given in (
        (significance.interval, (labels, first, clusters)),
        (significance.paired_interval, (labels, first, second, clusters)),
        (significance.permutation_test, (labels, first, second, clusters)),
    ):
        assert function(*given, seed=5) == function(*given, seed=5)
        assert function(*given, seed=5) != function(*given, seed=6)


def test_coverage_needs_whole_videos():
    random = np.random.default_rng(4)
    trials, clustered, unclustered = 200, 0, 0
    for trial in range(trials):
        labels, predictions, clusters = simulate(random, 50)
        one, other = (
            significance.interval(
                labels, predictions, videos, samples=300, seed=trial
            )
            for videos in (clusters, np.arange(len(labels)))
        )
        clustered += one.low <= TRUE_CCC <= one.high
        unclustered += other.low <= TRUE_CCC <= other.high
    assert 0.88 <= clustered / trials <= 0.99
    assert unclustered / trials < 0.75


def test_a_run_does_not_differ_from_itself():
    labels, predictions, clusters = simulate(6, 20)
    pair = (predictions, predictions.copy())
    interval = significance.paired_interval(labels, *pair, clusters)
    assert interval == (0, 0)
    assert significance.permutation_test(labels, *pair, clusters) == 1


def test_rounding_makes_no_difference_between_equals():
    for seed in range(10):
        labels, first, clusters = simulate(seed, 5)
        second = first + 1e-8 * (first - labels)
        # In a sixth video, the runs are those of the first video, swapped: to
        # swap both videos changes nothing.
        own = clusters == 0
        labels, one, other = (
            np.concatenate([x, y[own]])
            for x, y in ((labels, labels), (first, second), (second, first))
        )
        given = labels, one, other, np.append(clusters, [5] * own.sum())
        differences = swapped_differences(
            *(x[:, np.newaxis] for x in given[:3]), given[3]
        )
        count = np.sum(differences >= differences[0] - 1e-12)
        assert significance.permutation_test(*given) * 2**6 == count


def test_permutation_by_chance_agrees_with_all():
    labels, first, second, clusters = simulate(15, 12, 2)
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


def test_holm_by_hand():
    # In order 0.01, 0.02, 0.03, 0.5: times 4, 3, 2 and 1, never less than
    # before.
    assert significance.holm([0.03, 0.01, 0.5, 0.02]) == pytest.approx(
        [0.06, 0.04, 0.5, 0.06]
    )
    assert significance.holm([0.6, 0.7]) == [1, 1]
    assert significance.holm([0.25]) == [0.25]
    assert significance.holm([]) == []


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"videos": list("aaaa")}, "labels of 2 videos, not 1"),
        (
            dict.fromkeys(("first", "second"), np.ones((4, 2)))
            | {"labels": [[1, 1], [2, 2], [3, NAN], [4, NAN]]},
            "each column must have labels of 2 videos, not 1",
        ),
        ({"videos": list("aab")}, "one for each of 4 utterances"),
        ({"labels": [[1, 2, 3, 4]]}, r"not \(1, 4\) and \(4,\)"),
        ({"first": [1, 2, 3], "second": [1, 2, 4, 4, 5]}, "must"),
        ({"second": [1, 2, 3, np.inf]}, "finite"),
        ({"labels": [1, 2, 3, np.inf]}, "finite"),
        ({"labels": [NAN] * 4}, "not all of a column"),
    ],
)
@pytest.mark.parametrize(
    "function", [significance.paired_interval, significance.permutation_test]
)
def test_what_has_no_answer_is_refused(function, changed, message):
    given = {
        "labels": [1, 2, 3, 4],
        "first": [1, 3, 2, 4],
        "second": [1, 2, 4, 4],
        "videos": list("aabb"),
    }
    with pytest.raises(ValueError, match=message):
        function(**given | changed)


def test_an_interval_is_found_where_it_is_an_estimate():
    labels, predictions = [0.1, 0.4, 0.2, 0.9], [0.2, 0.3, 0.5, 0.8]
    videos, constant = ["a", "a", "b", "b"], [0.5] * 4
    find = significance.interval
    assert find(labels, predictions, videos) is not None
    assert find(labels, predictions, ["a"] * 4) is None
    assert find(labels, constant, videos) is None
    assert find(constant, predictions, videos) is None
    # An error is an error, of constants too.
    of_errors = find(
        constant, predictions, videos, statistic="mean_squared_error"
    )
    assert 0 < of_errors.low < of_errors.high
    with pytest.raises(ValueError, match="finite"):
        find(labels, [0.1, NAN, 0.2, 0.3], videos)
    # A second column has labels of one video, or of both but all alike.
    for column, ends in (
        ([NAN, NAN, 0.1, 0.5], None),
        ([NAN, 0.5, NAN, 0.5], None),
        ([NAN, 0.4, NAN, 0.5], significance.Interval),
    ):
        columns = np.transpose([labels, column])
        found = find(columns, np.transpose([predictions] * 2), videos)
        assert found is ends or type(found) is ends
