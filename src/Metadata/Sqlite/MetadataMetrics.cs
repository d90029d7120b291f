using System.Diagnostics;
using System.Diagnostics.Metrics;

namespace ObjectStore.Metadata.Sqlite;

/// <summary>The meter and the activity source "ObjectStore.Metadata".</summary>
internal sealed class MetadataMetrics : IDisposable
{
    internal const string Name = "ObjectStore.Metadata";

    internal static readonly ActivitySource Activities = new(Name);

    private readonly Meter _meter = new(Name);
    private readonly Counter<long> _commits;
    private readonly Counter<long> _failures;
    private readonly Histogram<int> _batchSize;
    private readonly Histogram<double> _commitDuration;
    private readonly Histogram<double> _checkpointDuration;

    internal MetadataMetrics(Func<long> walBytes, Func<int> queueDepth)
    {
        _commits = _meter.CreateCounter<long>("objectstore.metadata.commits", "{transaction}", "Transactions that were committed and synced.");
        _failures = _meter.CreateCounter<long>("objectstore.metadata.commit.failures", "{transaction}", "Transactions that failed.");
        _batchSize = _meter.CreateHistogram<int>("objectstore.metadata.commit.batch_size", "{operation}", "Operations that shared a transaction and its sync.");
        _commitDuration = _meter.CreateHistogram<double>("objectstore.metadata.commit.duration", "s", "A transaction from its begin to its sync.");
        _checkpointDuration = _meter.CreateHistogram<double>("objectstore.metadata.checkpoint.duration", "s", "A checkpoint of the write-ahead log.");
        _meter.CreateObservableGauge("objectstore.metadata.wal.size", walBytes, "By", "What the write-ahead log holds since it last began anew.");
        _meter.CreateObservableGauge("objectstore.metadata.queue.depth", queueDepth, "{operation}", "Changes that wait for the writer.");
    }

    internal void Committed(int operations, TimeSpan took)
    {
        _commits.Add(1);
        _batchSize.Record(operations);
        _commitDuration.Record(took.TotalSeconds);
    }

    internal void Failed() => _failures.Add(1);

    internal void Checkpointed(TimeSpan took) => _checkpointDuration.Record(took.TotalSeconds);

    /// <inheritdoc/>
    public void Dispose() => _meter.Dispose();
}
