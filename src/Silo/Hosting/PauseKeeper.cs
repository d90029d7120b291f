using System.Collections.Immutable;
using ObjectStore.Maintenance.Compaction;
using ObjectStore.Maintenance.Reclamation;
using ObjectStore.Maintenance.Repair;
using ObjectStore.Maintenance.Scrubbing;
using ObjectStore.Metadata;

namespace ObjectStore.Silo.Hosting;

/// <summary>What of the background plane can be paused.</summary>
internal enum PausableWork
{
    Repair,
    Scrub,
    Compaction,

    /// <summary>The deletion of bytes that nothing names any more.</summary>
    Garbage,
}

/// <summary>Pauses and resumes background work so that a pause outlasts a restart: it is kept with the cursors of the background plane. Thread-safe.</summary>
internal sealed class PauseKeeper(IMaintenanceStore metadata, RepairService repair, ScrubService scrub, CompactionService compaction, GarbageReclaimer garbage)
{
    private const string Prefix = "paused/";

    // Version 1, without content: that it is there says all.
    private static readonly byte[] Paused = [1];

    /// <summary>Pauses what was paused when the process before this one ended; before the services run.</summary>
    public async Task RestoreAsync(CancellationToken cancellationToken)
    {
        ImmutableArray<MaintenanceCursor> kept = await metadata.ListCursorsAsync(Prefix, cancellationToken);
        foreach (PausableWork work in Enum.GetValues<PausableWork>())
        {
            if (kept.Any(cursor => cursor.Name == NameOf(work))) Apply(work, paused: true);
        }
    }

    /// <summary>Durable once it returns, and in effect.</summary>
    public async Task SetAsync(PausableWork work, bool paused, CancellationToken cancellationToken)
    {
        await metadata.SetCursorAsync(NameOf(work), paused ? Paused : null, cancellationToken);
        Apply(work, paused);
    }

    private void Apply(PausableWork work, bool paused)
    {
        Action act = (work, paused) switch
        {
            (PausableWork.Repair, true) => repair.Pause,
            (PausableWork.Repair, false) => repair.Resume,
            (PausableWork.Scrub, true) => scrub.Pause,
            (PausableWork.Scrub, false) => scrub.Resume,
            (PausableWork.Compaction, true) => compaction.Pause,
            (PausableWork.Compaction, false) => compaction.Resume,
            (PausableWork.Garbage, true) => garbage.Pause,
            _ => garbage.Resume,
        };
        act();
    }

    // "paused/repair" and so on.
    private static string NameOf(PausableWork work) => Prefix + work switch
    {
        PausableWork.Repair => "repair",
        PausableWork.Scrub => "scrub",
        PausableWork.Compaction => "compaction",
        _ => "garbage",
    };
}
