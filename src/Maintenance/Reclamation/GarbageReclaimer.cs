using System.Collections.Concurrent;
using System.Collections.Immutable;
using System.Diagnostics;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using ObjectStore.Grains;
using ObjectStore.Maintenance.Throttling;
using ObjectStore.Metadata;
using ObjectStore.Storage.Extents;

namespace ObjectStore.Maintenance.Reclamation;

/// <summary>
/// Deletes the bytes that no version names any more. Commits queue them with a time before which a read that began earlier may still need
/// them; this loop deletes what is due, first the bytes, then the record of them, so that a crash between the two
/// repeats a deletion and never forgets one. What cannot be deleted now, such as what is on a drive that is away, is put off, durably and for longer each time, so
/// that the rest goes on. One per process; stops within one batch.
/// </summary>
public sealed partial class GarbageReclaimer(
    IMetadataStore metadata, IExtentStore extents, TimeProvider time, GarbageReclaimerOptions options, ILogger<GarbageReclaimer> logger) : BackgroundService
{
    private readonly PauseSwitch _pause = new();

    public bool IsPaused => _pause.IsPaused;

    /// <summary>Deletes nothing more until <see cref="Resume"/>, but what is being deleted: a batch at most. Does not outlive the process.</summary>
    public void Pause() => _pause.Pause();

    public void Resume() => _pause.Resume();

    /// <summary>Deletes what is due, in batches, until nothing is.</summary>
    /// <returns>The number of extents deleted.</returns>
    public async Task<long> ReclaimAsync(CancellationToken cancellationToken)
    {
        using Activity? activity = MaintenanceDiagnostics.Activities.StartActivity("maintenance.reclaim");
        long total = 0;
        while (true)
        {
            await _pause.WaitAsync(cancellationToken).ConfigureAwait(false);
            DateTimeOffset now = time.GetUtcNow();
            ImmutableArray<ExtentGarbage> due = await metadata.ListGarbageAsync(now.ToUnixTimeMilliseconds(), options.BatchExtents, cancellationToken).ConfigureAwait(false);
            if (due.IsEmpty)
            {
                activity?.SetTag("objectstore.extents", total);
                return total;
            }

            ConcurrentBag<long> deleted = [];
            ConcurrentBag<(ExtentGarbage Garbage, Exception Cause)> failed = [];
            await Parallel.ForEachAsync(due, new ParallelOptions { CancellationToken = cancellationToken, MaxDegreeOfParallelism = options.ParallelDeletes }, async (garbage, stopping) =>
            {
                try
                {
                    await DeleteAsync(garbage.Extent, stopping).ConfigureAwait(false);
                    deleted.Add(garbage.GarbageId);
                }
                catch (Exception e) when (!cancellationToken.IsCancellationRequested)
                {
                    failed.Add((garbage, e));
                }
            }).ConfigureAwait(false);

            await metadata.RemoveGarbageAsync([.. deleted], cancellationToken).ConfigureAwait(false);
            MaintenanceDiagnostics.Reclaimed.Add(deleted.Count);
            total += deleted.Count;
            if (!failed.IsEmpty)
                await PutOffAsync([.. failed], now, cancellationToken).ConfigureAwait(false);
        }
    }

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        options.Validate();
        using PeriodicTimer timer = new(options.Interval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken).ConfigureAwait(false))
            {
                try
                {
                    await ReclaimAsync(stoppingToken).ConfigureAwait(false);
                }
                catch (Exception e) when (!stoppingToken.IsCancellationRequested)
                {
                    MaintenanceDiagnostics.ReclaimFailures.Add(1);
                    LogFailure(e);
                }
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // Stopping; what is left is due again at the next start.
        }
        catch (Exception e) when (stoppingToken.IsCancellationRequested)
        {
            // Whatever a round that is being stopped ends with, it is no reason for the service to fail.
            LogFailure(e);
        }
    }

    private async ValueTask DeleteAsync(PartLayout part, CancellationToken cancellationToken)
    {
        var id = new ExtentId(new UInt128(part.ExtentHigh, part.ExtentLow));
        await extents.DeleteAsync(new ExtentLayout(id, part.PlacementGroup, part.Scheme, part.BlockSizeBytes, part.LengthBytes), cancellationToken).ConfigureAwait(false);
        MaintenanceDiagnostics.ReclaimedBytes.Add(part.LengthBytes);
    }

    private async ValueTask PutOffAsync((ExtentGarbage Garbage, Exception Cause)[] failed, DateTimeOffset now, CancellationToken cancellationToken)
    {
        // One line for all: a drive that is away fails every extent there is.
        MaintenanceDiagnostics.ReclaimFailures.Add(failed.Length);
        LogExtentFailures(failed.Length, failed[0].Garbage.GarbageId, failed[0].Cause);
        await metadata.PostponeGarbageAsync(
            [.. failed.Select(entry => new Postponement(entry.Garbage.GarbageId, (now + Backoff(entry.Garbage.Attempts)).ToUnixTimeMilliseconds()))], cancellationToken).ConfigureAwait(false);
    }

    private TimeSpan Backoff(int attempts)
    {
        TimeSpan delay = options.Interval * Math.Pow(2, Math.Min(attempts, 16));
        return delay < options.MaxRetryDelay ? delay : options.MaxRetryDelay;
    }

    [LoggerMessage(1, LogLevel.Warning, "Reclaiming garbage failed; it is tried again at the next round")]
    private partial void LogFailure(Exception exception);

    [LoggerMessage(2, LogLevel.Warning, "{Count} extents cannot be deleted now and are tried again later; the first is that of garbage record {GarbageId}")]
    private partial void LogExtentFailures(int count, long garbageId, Exception exception);
}

/// <summary>Settings of <see cref="GarbageReclaimer"/>.</summary>
public sealed class GarbageReclaimerOptions
{
    /// <summary>How often garbage is looked for, and how long an extent that could not be deleted is left alone the first time. 30 s unless set.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromSeconds(30);

    /// <summary>Extents to a batch. 256 unless set.</summary>
    public int BatchExtents { get; init; } = 256;

    /// <summary>Extents deleted at once. 16 unless set.</summary>
    public int ParallelDeletes { get; init; } = 16;

    /// <summary>How long an extent that could not be deleted again and again is left alone at most. 1 h unless set.</summary>
    public TimeSpan MaxRetryDelay { get; init; } = TimeSpan.FromHours(1);

    /// <exception cref="ArgumentException">A setting makes no sense.</exception>
    public void Validate()
    {
        Require(Interval > TimeSpan.Zero, nameof(Interval), Interval, "use a time above zero; 00:00:30 is the default");
        Require(BatchExtents is >= 1 and <= 100_000, nameof(BatchExtents), BatchExtents, "use 1 to 100,000; 256 is the default");
        Require(ParallelDeletes is >= 1 and <= 1024, nameof(ParallelDeletes), ParallelDeletes, "use 1 to 1,024; 16 is the default");
        Require(MaxRetryDelay >= Interval, nameof(MaxRetryDelay), MaxRetryDelay, "use no less than the interval; 01:00:00 is the default");

        static void Require(bool holds, string setting, object value, string remedy)
        {
            if (!holds)
                throw new ArgumentException($"Reclaimer setting '{setting}' is '{value}': {remedy}.");
        }
    }
}
