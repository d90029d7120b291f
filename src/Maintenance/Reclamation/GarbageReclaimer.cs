using System.Collections.Immutable;
using System.Diagnostics.Metrics;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using ObjectStore.Grains;
using ObjectStore.Metadata;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Maintenance.Reclamation;

/// <summary>
/// Deletes the bytes that no version names any more. Commits queue them with a time before which a read that began earlier may still need
/// them; this loop deletes what is due, first the bytes, then the record of them, so that a crash between the two
/// repeats a deletion and never forgets one. One per process; stops within one batch.
/// </summary>
public sealed partial class GarbageReclaimer(
    IMetadataStore metadata, IExtentStore extents, TimeProvider time, GarbageReclaimerOptions options, ILogger<GarbageReclaimer> logger) : BackgroundService
{
    private static readonly Meter Meter = new("ObjectStore.Maintenance");
    private static readonly Counter<long> Reclaimed = Meter.CreateCounter<long>("objectstore.reclamation.extents", "{extent}", "Extents deleted as garbage.");
    private static readonly Counter<long> ReclaimedBytes = Meter.CreateCounter<long>("objectstore.reclamation.bytes", "By", "Object bytes of the extents deleted as garbage.");
    private static readonly Counter<long> Failures = Meter.CreateCounter<long>("objectstore.reclamation.failures", "{failure}", "Rounds that ended with an error.");

    /// <summary>Deletes what is due, in batches, until nothing is.</summary>
    /// <returns>The number of extents deleted.</returns>
    public async Task<long> ReclaimAsync(CancellationToken cancellationToken)
    {
        long total = 0;
        while (true)
        {
            ImmutableArray<ExtentGarbage> due = await metadata.ListGarbageAsync(time.GetUtcNow().ToUnixTimeMilliseconds(), options.BatchExtents, cancellationToken);
            if (due.IsEmpty) return total;
            List<long> deleted = new(due.Length);
            foreach (ExtentGarbage garbage in due)
            {
                PartLayout part = garbage.Extent;
                try
                {
                    await extents.DeleteAsync(
                        new ExtentLayout(new ExtentId(new UInt128(part.ExtentHigh, part.ExtentLow)), part.PlacementGroup, part.Scheme, part.BlockSizeBytes, part.LengthBytes),
                        cancellationToken);
                    deleted.Add(garbage.GarbageId);
                    ReclaimedBytes.Add(part.LengthBytes);
                }
                catch (Exception e) when (e is not OperationCanceledException)
                {
                    // One extent that cannot be deleted must not stand in the way of the others.
                    Failures.Add(1);
                    LogExtentFailure(garbage.GarbageId, e);
                }
            }

            await metadata.RemoveGarbageAsync([.. deleted], cancellationToken);
            Reclaimed.Add(deleted.Count);
            total += deleted.Count;

            // A batch of failures alone would be listed again at once; the next round tries it.
            if (deleted.Count == 0) return total;
        }
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        using PeriodicTimer timer = new(options.Interval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken))
            {
                try
                {
                    await ReclaimAsync(stoppingToken);
                }
                catch (Exception e) when (e is not OperationCanceledException)
                {
                    Failures.Add(1);
                    LogFailure(e);
                }
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // Stopping; what is left is due again at the next start.
        }
    }

    [LoggerMessage(1, LogLevel.Warning, "Reclaiming garbage failed; it is tried again at the next round")]
    private partial void LogFailure(Exception exception);

    [LoggerMessage(2, LogLevel.Warning, "The extent of garbage record {GarbageId} cannot be deleted; it is tried again")]
    private partial void LogExtentFailure(long garbageId, Exception exception);
}

/// <summary>Settings of <see cref="GarbageReclaimer"/>.</summary>
public sealed class GarbageReclaimerOptions
{
    /// <summary>How often garbage is looked for. 30 s unless set.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Extents to a batch. 256 unless set.</summary>
    public int BatchExtents { get; init; } = 256;
}
