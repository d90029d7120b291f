using ObjectStore.Storage.Drives;
using ObjectStore.Storage.Index;

namespace ObjectStore.Storage.Recovery;

/// <summary>What <see cref="IndexRecovery"/> found and made.</summary>
/// <param name="OldIndex">Whether there was an index, which the new one has taken the place of.</param>
/// <param name="CorruptRegions">Damaged bytes in volumes, where synced records were.</param>
/// <param name="TornTails">Ends that a crash cut off; nothing of them was acknowledged.</param>
/// <param name="PoisonedVolumes">Volumes that could not be settled: a sync or the footer failed.</param>
public sealed record IndexRecoveryResult(
    Guid DriveId, bool OldIndex, RecoveryReport Report, DriveStatistics Statistics, IReadOnlyList<(long VolumeId, long OffsetBytes, long LengthBytes)> CorruptRegions,
    IReadOnlyList<(long VolumeId, long OffsetBytes, long LengthBytes)> TornTails, IReadOnlyList<long> PoisonedVolumes);

/// <summary>
/// Rebuilds a drive's index from its volumes alone, with the drive's lock held, by the recovery that a start runs where there is no index: volumes with a torn end are sealed and those with
/// nothing alive are removed, as it would. The old index is set aside first and removed only when the new one is durable and says what the volumes say; where there is no room for both it is removed
/// first, since what is in it is in the volumes: one of which only the index knows what is in it is refused. A crash at any step leaves a folder that the next start, or the next run, brings up to date.
/// </summary>
public static class IndexRecovery
{
    private const string AsideSuffix = "-before-recovery";

    // A new index is about as large as the old one, and its log grows beside it.
    private const double RoomRatio = 1.5;

    /// <exception cref="DriveIdentityException">The folder is no drive, or its identity is damaged.</exception>
    /// <exception cref="DriveInUseException">A process has the drive.</exception>
    /// <exception cref="IOException">The volumes cannot be read or the index cannot be written. The old index, where there was one, is in <c>index.db-before-recovery</c>.</exception>
    public static IndexRecoveryResult Run(string path, TimeProvider time, Func<ulong> nextRandom)
    {
        path = Path.GetFullPath(path);
        DriveIdentity identity = DriveInspector.ReadIdentity(path);
        string index = Path.Combine(path, "index.db");
        var findings = new Findings();
        var drive = new FileDrive(path, directIo: false);
        bool oldIndex;
        DriveStatistics statistics;
        DriveEngine engine;
        try
        {
            RefuseUnknownVolumes(drive, path, identity.DriveId, index);
            oldIndex = SetAside(index, drive.FreeBytes);
            var options = new StorageOptions { DrivePaths = [path], WritersPerDrive = 1, DirectIo = false };
            engine = DriveEngine.Open(drive, identity, new EngineServices(options, time, nextRandom, findings, Threaded: true));
        }
        catch
        {
            drive.Dispose();
            throw;
        }

        // Closing brings everything into the file, and syncs it.
        using (engine)
            statistics = engine.GetStatistics();
        if (findings.IndexFailure is { } failure)
            throw new IOException($"The new index cannot be written: {failure.Message}", failure);
        long? indexed = DriveInspector.ReadVolumes(index, identity.DriveId, inUse: false, out string? problem)?.Values.Sum(row => row.LiveFragments);
        if (indexed != statistics.LiveFragments)
            throw new IOException($"The new index has {indexed?.ToString(System.Globalization.CultureInfo.InvariantCulture) ?? problem} fragments where the volumes have {statistics.LiveFragments}.");
        Sync(index);
        DirectorySync.Sync(path);
        DeleteAside(index);
        DirectorySync.Sync(path);
        return new IndexRecoveryResult(identity.DriveId, oldIndex, findings.Report!, statistics, findings.CorruptRegions, findings.TornTails, findings.PoisonedVolumes);
    }

    /// <summary>The index is all that says which fragments are in a volume that this build cannot read.</summary>
    private static void RefuseUnknownVolumes(FileDrive drive, string path, Guid driveId, string index)
    {
        IReadOnlyDictionary<long, VolumeRow>? known = File.Exists(index) ? DriveInspector.ReadVolumes(index, driveId, inUse: false, out _) : null;
        var page = new byte[Volumes.VolumeFormat.LogStart];
        foreach (long id in drive.ListVolumes())
        {
            using IVolumeFile file = Open(drive, path, id);
            if (file.Read(0, page, default, ReadCaching.Fill) < page.Length)
                continue;
            foreach (int at in (ReadOnlySpan<int>)[0, Volumes.VolumeFormat.PageBytes])
            {
                if (Volumes.VolumeHeader.OtherFormat(page.AsSpan(at)[..Volumes.VolumeFormat.PageBytes]) is { } format)
                    throw new DriveIdentityException(path, $"volume {id} is of format {format}, this build knows format {Volumes.VolumeHeader.FormatVersion}: a new index would forget its fragments. The index is left as it was.");
            }

            if (known?.GetValueOrDefault(id) is { LiveFragments: > 0 } && !Array.Exists([0, Volumes.VolumeFormat.PageBytes], at => Volumes.VolumeHeader.TryDecode(page.AsSpan(at)[..Volumes.VolumeFormat.PageBytes], out Volumes.VolumeHeader header) && header.VolumeId == id))
                throw new DriveIdentityException(path, $"both headers of volume {id} are damaged, and only the index says by what its records are known: a new one would forget its fragments. The index is left as it was.");
        }
    }

    private static IVolumeFile Open(FileDrive drive, string path, long id)
    {
        try
        {
            return drive.OpenVolume(id);
        }
        catch (IOException e) when (Posix.IsOfFile(e))
        {
            throw new DriveIdentityException(path, $"volume {id} cannot be opened ({e.Message}): a new index would forget its fragments. Mend the file system first. The index is left as it was.");
        }
    }

    /// <summary>True where there was an index. What an earlier run set aside is the older one, and what it has made since may be half an index.</summary>
    internal static bool SetAside(string index, long freeBytes)
    {
        string aside = index + AsideSuffix;
        if (File.Exists(aside))
        {
            IndexDatabase.Delete(index);
            if (freeBytes < RoomRatio * new FileInfo(aside).Length)
                DeleteAside(index);
            DirectorySync.Sync(Path.GetDirectoryName(index)!);
            return true;
        }

        if (!File.Exists(index))
        {
            IndexDatabase.Delete(index); // logs and marks without their database
            DirectorySync.Sync(Path.GetDirectoryName(index)!);
            return false;
        }

        if (freeBytes < RoomRatio * new FileInfo(index).Length)
        {
            IndexDatabase.Delete(index);
            DirectorySync.Sync(Path.GetDirectoryName(index)!);
            return true;
        }

        // The database first: SQLite drops a log beside no database, while a database without its log may be in the middle of a checkpoint.
        File.Move(index, aside);
        if (File.Exists(index + "-wal"))
            File.Move(index + "-wal", aside + "-wal", overwrite: true);
        IndexDatabase.Delete(index);
        DirectorySync.Sync(Path.GetDirectoryName(index)!);
        return true;
    }

    private static void DeleteAside(string index)
    {
        foreach (string suffix in (string[])["-wal", "-shm", ""]) // the database last: while it is there the next run knows that this one did not end
            File.Delete(index + AsideSuffix + suffix);
    }

    private static void Sync(string file)
    {
        using Microsoft.Win32.SafeHandles.SafeFileHandle handle = File.OpenHandle(file, FileMode.Open, FileAccess.ReadWrite, FileShare.ReadWrite | FileShare.Delete);
        RandomAccess.FlushToDisk(handle);
    }

    private sealed class Findings : IStorageEvents
    {
        public RecoveryReport? Report { get; private set; }

        public Exception? IndexFailure { get; private set; }

        public List<(long, long, long)> CorruptRegions { get; } = [];

        public List<(long, long, long)> TornTails { get; } = [];

        public List<long> PoisonedVolumes { get; } = [];

        public void RecoveryFinished(Guid driveId, RecoveryReport report) => Report = report;

        public void IndexWriteFailed(Guid driveId, Exception cause) => IndexFailure ??= cause;

        public void VolumeCorrupt(Guid driveId, long volumeId, long offsetBytes, long lengthBytes) => CorruptRegions.Add((volumeId, offsetBytes, lengthBytes));

        public void TornTailDropped(Guid driveId, long volumeId, long offsetBytes, long lengthBytes) => TornTails.Add((volumeId, offsetBytes, lengthBytes));

        public void VolumePoisoned(Guid driveId, long volumeId, Exception cause) => PoisonedVolumes.Add(volumeId);
    }
}
