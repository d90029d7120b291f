using System.Diagnostics;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using ObjectStore.Maintenance.Throttling;

namespace ObjectStore.Maintenance.Compaction;

/// <summary>Settings of <see cref="CompactionService"/>.</summary>
public sealed class CompactionOptions
{
    /// <summary>How often each drive is looked at. 1 min unless set.</summary>
    public TimeSpan Interval { get; init; } = TimeSpan.FromMinutes(1);

    /// <summary>The share of garbage from which on a volume is rewritten. 0.15 unless set: what lives then takes at most 1.2 times its bytes.</summary>
    public double MinimumGarbageRatio { get; init; } = 0.15;

    /// <summary>Bytes copied in a second on each drive; null, the default, is no limit. Foreground latency limits them in any case.</summary>
    public long? BytesPerSecond { get; init; }

    /// <exception cref="ArgumentException">A setting makes no sense.</exception>
    public void Validate()
    {
        if (Interval <= TimeSpan.Zero)
            throw new ArgumentException($"Compaction setting 'Interval' is '{Interval}': use a time above zero; 00:01:00 is the default.");
        if (MinimumGarbageRatio is not (> 0 and < 1))
            throw new ArgumentException($"Compaction setting 'MinimumGarbageRatio' is '{MinimumGarbageRatio}': use a share above 0 and below 1; 0.15 is the default.");
        if (BytesPerSecond is < 1024)
            throw new ArgumentException($"Compaction setting 'BytesPerSecond' is '{BytesPerSecond}': use at least 1,024, or leave it out for no limit.");
    }
}

/// <summary>
/// Compacts the drives of this process, each by a loop of its own, one compaction of a drive at a time. While clients suffer none begins, and one that runs stops between two steps until they
/// do not. Thread-safe.
/// </summary>
/// <param name="drives">The drives there are; asked at each interval.</param>
public sealed partial class CompactionService(Func<IReadOnlyCollection<ICompactableDrive>> drives, LoadGovernor governor, TimeProvider time, CompactionOptions options, ILogger<CompactionService> logger)
    : BackgroundService
{
    private static readonly TimeSpan YieldToClients = TimeSpan.FromMilliseconds(250);

    // So that a store that is always busy does not fill up: each step waits this long at most.
    private const int MostYields = 20;

    private readonly PauseSwitch _pause = new();
    private long _freedBytes;
    private int _atWork;

    public bool IsPaused => _pause.IsPaused;

    /// <summary>Whether a drive is being compacted, or looked at for what is worth it.</summary>
    public bool IsRunning => Volatile.Read(ref _atWork) > 0;

    /// <summary>Bytes given back to the file systems since the service was made.</summary>
    public long FreedBytes => Interlocked.Read(ref _freedBytes);

    /// <summary>Begins nothing more until <see cref="Resume"/>, and holds what runs at its next step. Does not outlive the process.</summary>
    public void Pause() => _pause.Pause();

    public void Resume() => _pause.Resume();

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        options.Validate();
        Dictionary<Guid, Task> running = [];
        using PeriodicTimer timer = new(options.Interval, time);
        try
        {
            while (await timer.WaitForNextTickAsync(stoppingToken).ConfigureAwait(false))
            {
                foreach (ICompactableDrive drive in drives())
                {
                    if (!running.TryGetValue(drive.DriveId, out Task? last) || last.IsCompleted)
                        running[drive.DriveId] = CompactAsync(drive, stoppingToken);
                }
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            await Task.WhenAll(running.Values).ConfigureAwait(false);
        }
    }

    private async Task CompactAsync(ICompactableDrive drive, CancellationToken stoppingToken)
    {
        // A drive that hangs may keep its caller: that is not to be the loop, which goes on with the other drives.
        await Task.Yield();
        var rate = new ByteRate(time) { BytesPerSecond = options.BytesPerSecond };
        try
        {
            await GiveWayAsync(stoppingToken).ConfigureAwait(false);
            using Activity? activity = MaintenanceDiagnostics.Activities.StartActivity("maintenance.compaction")?.SetTag("objectstore.drive", drive.DriveId.ToString());
            CompactionResult result;
            Interlocked.Increment(ref _atWork);
            IDisposable busy = governor.Busy();
            try
            {
                result = await drive.CompactAsync(
                    options.MinimumGarbageRatio,
                    async (bytes, cancellationToken) =>
                    {
                        // While it waits nothing is done, and clients are seen to recover.
                        busy.Dispose();
                        await rate.PayAsync(bytes, cancellationToken).ConfigureAwait(false);
                        await GiveWayAsync(cancellationToken).ConfigureAwait(false);
                        busy = governor.Busy();
                    },
                    stoppingToken).ConfigureAwait(false);
            }
            finally
            {
                busy.Dispose();
                Interlocked.Decrement(ref _atWork);
            }

            if (result.Volumes == 0)
                return;
            Interlocked.Add(ref _freedBytes, result.FreedBytes);
            MaintenanceDiagnostics.CompactionRuns.Add(1);
            MaintenanceDiagnostics.CompactedBytes.Add(result.FreedBytes);
            LogCompacted(drive.DriveId, result.Volumes, result.CopiedBytes, result.FreedBytes);
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            // Stopping between two steps.
        }
        catch (Exception e)
        {
            MaintenanceDiagnostics.LoopFailures.Add(1, new KeyValuePair<string, object?>("loop", "compaction"));
            LogFailure(drive.DriveId, e);
        }
    }

    private async ValueTask GiveWayAsync(CancellationToken cancellationToken)
    {
        await _pause.WaitAsync(cancellationToken).ConfigureAwait(false);
        for (int i = 0; i < MostYields && governor.IsHeldBack; i++)
            await Task.Delay(YieldToClients, time, cancellationToken).ConfigureAwait(false);
    }

    [LoggerMessage(40, LogLevel.Information, "Drive {Drive} was compacted: {Volumes} volumes, {Copied} bytes written anew, {Freed} bytes given back")]
    private partial void LogCompacted(Guid drive, int volumes, long copied, long freed);

    [LoggerMessage(41, LogLevel.Warning, "Compaction of drive {Drive} failed; it is tried again")]
    private partial void LogFailure(Guid drive, Exception exception);
}
