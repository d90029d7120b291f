using System.Collections.Immutable;
using ObjectStore.Maintenance.Repair;
using ObjectStore.Maintenance.Scrubbing;
using ObjectStore.Metadata;

namespace ObjectStore.Silo.Hosting;

/// <summary>Pauses and resumes repair and scrub so that a pause outlasts a restart: it is kept with the cursors of the background plane. Thread-safe.</summary>
internal sealed class PauseKeeper(IMaintenanceStore metadata, RepairService repair, ScrubService scrub)
{
    private const string Prefix = "paused/";
    private const string Repair = Prefix + "repair";
    private const string Scrub = Prefix + "scrub";

    // Version 1, without content: that it is there says all.
    private static readonly byte[] Paused = [1];

    /// <summary>Pauses what was paused when the process before this one ended; before the services run.</summary>
    public async Task RestoreAsync(CancellationToken cancellationToken)
    {
        ImmutableArray<MaintenanceCursor> kept = await metadata.ListCursorsAsync(Prefix, cancellationToken);
        if (kept.Any(cursor => cursor.Name == Repair)) repair.Pause();
        if (kept.Any(cursor => cursor.Name == Scrub)) scrub.Pause();
    }

    /// <summary>Durable once it returns, and in effect.</summary>
    public async Task SetRepairAsync(bool paused, CancellationToken cancellationToken)
    {
        await metadata.SetCursorAsync(Repair, paused ? Paused : null, cancellationToken);
        if (paused) repair.Pause();
        else repair.Resume();
    }

    /// <inheritdoc cref="SetRepairAsync"/>
    public async Task SetScrubAsync(bool paused, CancellationToken cancellationToken)
    {
        await metadata.SetCursorAsync(Scrub, paused ? Paused : null, cancellationToken);
        if (paused) scrub.Pause();
        else scrub.Resume();
    }
}
