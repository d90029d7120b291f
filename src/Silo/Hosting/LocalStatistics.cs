using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Fragments;

namespace ObjectStore.Silo.Hosting;

/// <summary>What the folders of a process say of the drives in them.</summary>
internal static class LocalDriveHealth
{
    /// <summary>
    /// Each drive once, in the order of the folders. Two folders can name one drive: a copy of it that was set aside, or the place from which it was moved. What counts is the one that is in use,
    /// or a drive that is well would be taken for one that failed. Folders of which the drive cannot be told are all there.
    /// </summary>
    public static IEnumerable<DriveHealth> OnePerDrive(IReadOnlyList<DriveHealth> folders)
    {
        Dictionary<Guid, DriveHealth> best = [];
        foreach (DriveHealth folder in folders)
        {
            if (folder.DriveId is { } id && (!best.TryGetValue(id, out DriveHealth? other) || (other.State == DriveHealthState.Failed && folder.State != DriveHealthState.Failed))) best[id] = folder;
        }

        return folders.Where(folder => folder.DriveId is not { } id || ReferenceEquals(best[id], folder));
    }
}

/// <summary>What the drives of a process say of themselves. A drive that hangs holds nobody up.</summary>
internal static class LocalStatistics
{
    public static readonly TimeSpan Limit = TimeSpan.FromSeconds(1);

    /// <summary>Each drive once. One that failed shows as unavailable; one that has not been probed yet is asked now, the others show as of their last probe.</summary>
    public static async ValueTask<IReadOnlyList<DriveStatistics>> GetAsync(IReadOnlyList<DriveHealth> health, IFragmentStoreDirectory directory)
    {
        DriveStatistics?[] all = await Task.WhenAll(LocalDriveHealth.OnePerDrive(health).Select(async drive =>
        {
            if (drive.DriveId is not { } id) return null;
            DriveStatistics? known = drive.Statistics;
            if (drive.State != DriveHealthState.Failed && known is null && directory.Find(id) is { } store)
                known = (await DriveQuestions.AskAsync(store, Limit, TimeProvider.System, CancellationToken.None)).Statistics;
            return drive.State == DriveHealthState.Failed || known is null ? new DriveStatistics(id, drive.Path, DriveState.Unavailable, known?.CapacityBytes ?? 0, 0, 0, 0, 0, 0, 0, 0, 0) : known;
        }));
        return [.. all.OfType<DriveStatistics>()];
    }
}
