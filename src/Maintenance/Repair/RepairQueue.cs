using System.Collections.Immutable;
using System.Threading.Channels;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using ObjectStore.Metadata;
using ObjectStore.Storage.Repair;

namespace ObjectStore.Maintenance.Repair;

/// <summary>Settings of <see cref="RepairQueue"/>.</summary>
public sealed class RepairQueueOptions
{
    /// <summary>Notices of read paths that may wait to be recorded; more are dropped. 4,096 unless set.</summary>
    public int ReportCapacity { get; init; } = 4096;

    /// <summary>Notices that share a transaction. 256 unless set.</summary>
    public int BatchNotices { get; init; } = 256;

    /// <summary>How long a degraded write's fragments are left to the write itself, which may still be bringing them. 5 s unless set.</summary>
    public TimeSpan DegradedWriteDelay { get; init; } = TimeSpan.FromSeconds(5);
}

/// <summary>
/// The durable queue of what is missing or damaged: rows of the metadata store. A record is durable when its task completes; a report goes through a bounded channel that the loop
/// "repair notices" empties, and may be dropped. Thread-safe.
/// </summary>
public sealed partial class RepairQueue : BackgroundService, IRepairSink
{
    private readonly IMaintenanceStore _metadata;
    private readonly TimeProvider _time;
    private readonly RepairQueueOptions _options;
    private readonly ILogger<RepairQueue> _logger;
    private readonly Channel<RepairNotice> _reports;

    public RepairQueue(IMaintenanceStore metadata, TimeProvider time, RepairQueueOptions options, ILogger<RepairQueue> logger)
    {
        (_metadata, _time, _options, _logger) = (metadata, time, options, logger);
        _reports = Channel.CreateBounded<RepairNotice>(
            new BoundedChannelOptions(options.ReportCapacity) { SingleReader = true, FullMode = BoundedChannelFullMode.DropWrite },
            _ => MaintenanceDiagnostics.NoticesDropped.Add(1));
    }

    /// <summary>Raised after something was recorded in this process. Handlers return quickly and do not throw.</summary>
    public event Action? Recorded;

    /// <inheritdoc/>
    public ValueTask RecordAsync(RepairNotice notice, CancellationToken cancellationToken = default) => RecordAsync([notice], cancellationToken);

    /// <inheritdoc/>
    public async ValueTask RecordAsync(IReadOnlyList<RepairNotice> notices, CancellationToken cancellationToken = default)
    {
        await _metadata.RecordRepairsAsync([.. notices.Select(RecordOf)], cancellationToken).ConfigureAwait(false);
        foreach (RepairNotice notice in notices)
            Count(notice);
        Recorded?.Invoke();
    }

    /// <inheritdoc/>
    public void Report(RepairNotice notice) => _reports.Writer.TryWrite(notice);

    /// <summary>Records a notice that is not to be looked at before a time.</summary>
    internal async ValueTask RecordAsync(RepairNotice notice, DateTimeOffset notBefore, CancellationToken cancellationToken)
    {
        await _metadata.RecordRepairsAsync([RecordOf(notice) with { NotBeforeUnixMs = notBefore.ToUnixTimeMilliseconds() }], cancellationToken).ConfigureAwait(false);
        Count(notice);
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        List<RepairNotice> batch = new(_options.BatchNotices);
        try
        {
            while (await _reports.Reader.WaitToReadAsync(stoppingToken).ConfigureAwait(false))
            {
                batch.Clear();
                while (batch.Count < _options.BatchNotices && _reports.Reader.TryRead(out RepairNotice? notice))
                    batch.Add(notice);
                await RecordBatchAsync(batch, stoppingToken).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // Stopping. What was reported and not recorded is found again by the scrub.
        }
    }

    private async Task RecordBatchAsync(List<RepairNotice> batch, CancellationToken cancellationToken)
    {
        try
        {
            await RecordAsync(batch, cancellationToken).ConfigureAwait(false);
        }
        catch (Exception e) when (e is not OperationCanceledException)
        {
            MaintenanceDiagnostics.NoticesDropped.Add(batch.Count);
            MaintenanceDiagnostics.LoopFailures.Add(1, new KeyValuePair<string, object?>("loop", "repair notices"));
            LogNotRecorded(batch.Count, e);
        }
    }

    private RepairRecord RecordOf(RepairNotice notice)
    {
        DateTimeOffset now = _time.GetUtcNow();
        DateTimeOffset due = notice.Reason == RepairReason.DegradedWrite ? now + _options.DegradedWriteDelay : now;
        return new RepairRecord(
            (ulong)(notice.Extent.Value >> 64), (ulong)notice.Extent.Value, notice.FirstBlock, notice.BlockCount, notice.PlacementGroup, notice.Scheme.Id, notice.Shards.Bits,
            (int)notice.Reason, now.ToUnixTimeMilliseconds(), due.ToUnixTimeMilliseconds());
    }

    private static void Count(RepairNotice notice) => MaintenanceDiagnostics.NoticesRecorded.Add(1, new KeyValuePair<string, object?>("reason", notice.Reason.ToString()));

    [LoggerMessage(1, LogLevel.Warning, "{Count} notices of damage could not be queued; the scrub finds the same damage again")]
    private partial void LogNotRecorded(int count, Exception exception);
}
