using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace ObjectStore.Grains;

/// <summary>What the metadata plane counts. Thread-safe.</summary>
public sealed class GrainMetrics : IDisposable
{
    /// <summary>The meter's and the activity source's name.</summary>
    public const string Name = "ObjectStore.Grains";

    internal static readonly ActivitySource Activities = new(Name);

    private readonly Meter _meter = new(Name);
    private readonly Counter<long> _commits;
    private readonly Histogram<int> _batchSize;
    private readonly Counter<long> _conflicts;
    private readonly Counter<long> _rangeMoved;
    private readonly Counter<long> _ambiguous;
    private readonly Counter<long> _cacheReads;

    public GrainMetrics(ActivationBudget budget)
    {
        _commits = _meter.CreateCounter<long>("objectstore.grains.commits", "{mutation}", "Mutations by how their commit ended.");
        _batchSize = _meter.CreateHistogram<int>("objectstore.grains.commit.batch_size", "{mutation}", "Mutations per transaction.");
        _conflicts = _meter.CreateCounter<long>("objectstore.grains.conflicts", "{write}", "Writes that lost a race and decided again.");
        _rangeMoved = _meter.CreateCounter<long>("objectstore.grains.range_moved", "{write}", "Writes sent to a range's former leader, and retried.");
        _ambiguous = _meter.CreateCounter<long>("objectstore.grains.lost_answers", "{write}", "Writes whose answer was lost, and which were looked up.");
        _cacheReads = _meter.CreateCounter<long>("objectstore.grains.reads", "{read}", "Reads of an object's newest version, by whether the grain's cache held it.");
        _meter.CreateObservableGauge("objectstore.grains.objects.live", () => budget.Live, "{activation}", "Live object grains in this silo.");
    }

    internal void Committed(CommitStatus status) => _commits.Add(1, new KeyValuePair<string, object?>("outcome", Text(status)));

    internal void Batch(int mutations) => _batchSize.Record(mutations);

    internal void Conflict() => _conflicts.Add(1);

    internal void RangeMoved() => _rangeMoved.Add(1);

    internal void LostAnswer() => _ambiguous.Add(1);

    internal void CacheRead(bool hit) => _cacheReads.Add(1, new KeyValuePair<string, object?>("cache", hit ? "hit" : "miss"));

    /// <inheritdoc/>
    public void Dispose() => _meter.Dispose();

    private static string Text(CommitStatus status) => status switch
    {
        CommitStatus.Committed => "committed",
        CommitStatus.AlreadyApplied => "already_applied",
        CommitStatus.Conflict => "conflict",
        CommitStatus.RangeMoved => "range_moved",
        CommitStatus.NoSuchBucket => "no_such_bucket",
        CommitStatus.NoSuchUpload => "no_such_upload",
        _ => "unknown",
    };
}
