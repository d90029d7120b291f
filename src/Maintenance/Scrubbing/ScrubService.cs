using System.Collections.Concurrent;
using Microsoft.Extensions.Hosting;
using Microsoft.Extensions.Logging;
using ObjectStore.Maintenance.Liveness;
using ObjectStore.Maintenance.Rebalancing;
using ObjectStore.Maintenance.Repair;
using ObjectStore.Maintenance.Throttling;
using ObjectStore.Metadata;
using ObjectStore.Storage.Fragments;
using ObjectStore.Storage.Placement;
using ObjectStore.Storage.Repair;

namespace ObjectStore.Maintenance.Scrubbing;

/// <summary>
/// Scrubs the drives that can be reached, each by a loop of its own, "scrub" and the drive's id. Those of storage nodes too: their fragments are read over the network, since what a fragment belongs
/// to is known where the metadata is; their sealed volumes are verified by the nodes themselves, when they are asked to. One runs for a pool. Thread-safe.
/// </summary>
public sealed partial class ScrubService(
    IMaintenanceStore metadata, IFragmentStoreDirectory drives, Func<IClusterMap> map, IRepairSink sink, IExtentLiveness liveness, LoadGovernor governor, TimeProvider time,
    ScrubOptions options, ILogger<ScrubService> logger) : BackgroundService
{
    private readonly PauseSwitch _pause = new();
    private bool _observed;
    private readonly ConcurrentDictionary<Guid, Running> _running = [];

    public bool IsPaused => _pause.IsPaused;

    /// <summary>One entry a drive that can be reached.</summary>
    public IReadOnlyList<ScrubStatus> Status => [.. _running.Values.Select(running => running.Scrubber.Status).OrderBy(status => status.DriveId)];

    /// <summary>Reads nothing more until <see cref="Resume"/>. Of itself it does not outlive the process.</summary>
    public void Pause() => _pause.Pause();

    public void Resume() => _pause.Resume();

    /// <summary>Begins a pass over every drive now, as fast as it goes. Where one that was asked for is under way it goes on.</summary>
    public void StartPass()
    {
        foreach (Running running in _running.Values)
            running.Scrubber.Hurry();
    }

    /// <summary>Whether a pass that <see cref="StartPass"/> asked for is not over yet.</summary>
    public bool IsHurried => _running.Values.Any(running => running.Scrubber.IsHurried);

    internal DriveScrubber CreateScrubber(IFragmentStore drive)
        => new(drive, metadata, liveness, new StrayKeeper(drives, map, liveness, sink, time, logger), new FoundDamage(map, sink), governor, _pause, time, options, logger);

    /// <inheritdoc/>
    protected override async Task ExecuteAsync(CancellationToken stoppingToken)
    {
        options.Validate();
        if (!_observed)
        {
            _observed = true;
            MaintenanceDiagnostics.ObserveWhereKnown(
                "objectstore.scrub.pass.age", "s", "Since when the pass goes on that began first of those of all drives; of drives whose pass is over, none. Above the period it is late.",
                () => Status.Where(status => status.IsRunning).Select(status => (DateTimeOffset?)status.PassStarted).Min() is { } first ? Math.Max(0, (time.GetUtcNow() - first).TotalSeconds) : null);
        }

        try
        {
            while (true)
            {
                await FollowDrivesAsync(stoppingToken).ConfigureAwait(false);
                await Task.Delay(options.PollInterval, time, stoppingToken).ConfigureAwait(false);
            }
        }
        catch (OperationCanceledException) when (stoppingToken.IsCancellationRequested)
        {
            foreach (Guid drive in _running.Keys)
                await StopAsync(drive).ConfigureAwait(false);
        }
    }

    /// <summary>A loop for each drive that is there, none for one that went or was opened anew.</summary>
    private async Task FollowDrivesAsync(CancellationToken stoppingToken)
    {
        Dictionary<Guid, IFragmentStore> present = drives.All.ToDictionary(drive => drive.DriveId);
        foreach ((Guid id, Running running) in _running)
        {
            if (!present.TryGetValue(id, out IFragmentStore? drive) || !ReferenceEquals(drive, running.Drive))
                await StopAsync(id).ConfigureAwait(false);
        }

        foreach ((Guid id, IFragmentStore drive) in present)
        {
            if (_running.ContainsKey(id))
                continue;
            DriveScrubber scrubber = CreateScrubber(drive);
            var stop = CancellationTokenSource.CreateLinkedTokenSource(stoppingToken);
            _running[id] = new Running(drive, scrubber, stop, Task.Run(() => scrubber.RunAsync(stop.Token), CancellationToken.None));
        }
    }

    private async Task StopAsync(Guid id)
    {
        if (!_running.TryRemove(id, out Running? running))
            return;
        await running.Stop.CancelAsync().ConfigureAwait(false);
        try
        {
            await running.Loop.ConfigureAwait(false);
        }
        catch (OperationCanceledException)
        {
            // As it should.
        }
        catch (Exception e)
        {
            LogStopFailure(id, e);
        }

        running.Stop.Dispose();
    }

    [LoggerMessage(35, LogLevel.Warning, "The scrub of drive {Drive} did not stop cleanly")]
    private partial void LogStopFailure(Guid drive, Exception exception);

    private sealed record Running(IFragmentStore Drive, DriveScrubber Scrubber, CancellationTokenSource Stop, Task Loop);
}
